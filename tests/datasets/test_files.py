"""Annotation files are read whole, bounded and as UTF-8; tables with the delimiter that fits the header; foreign JSON
ends in a message that says what is there and what must be there, and where.
"""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.layouts import message, write_zip
from vtrcli.datasets import files
from vtrcli.datasets.files import Json, read_table
from vtrcli.errors import InputError

TRY = "mend the file or get it again; `vtr datasets list` says where from"


def test_a_missing_file_names_all_its_layouts(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        files.find_file(tmp_path, "a.json", "a.zip")
    assert message(caught) == (
        f"{tmp_path} holds no a.json and no a.zip; this split is read from one of them; "
        "put it there; `vtr datasets list` says where researchers get it"
    )


def test_the_preferred_layout_is_taken(tmp_path: Path) -> None:
    for name in ("a.zip", "a.json"):
        (tmp_path / name).touch()
    assert files.find_file(tmp_path, "a.json", "a.zip").name == "a.json"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        files.find_file(tmp_path / "no", "a.json")
    assert message(caught) == (
        f"{tmp_path / 'no'} is not a folder; --annotations is the folder of the data set's annotation files; "
        "check the path; `vtr datasets list` names the files"
    )


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n")
    assert files.read_video_ids(path) == ["one", "two"]


def test_text_that_is_not_utf8_names_the_line_and_what_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError) as caught:
        files.read_text(path)
    assert message(caught) == (
        f"{path}: line 1 is not UTF-8: it may be CP1252 ('café'); "
        "text is UTF-8, or UTF-16 with its byte order mark; "
        "save it as UTF-8, for example with `iconv -f CP1252 -t UTF-8`"
    )


def test_a_video_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("one\ntwo\none\n")
    with pytest.raises(InputError) as caught:
        files.read_video_ids(path)
    assert message(caught) == f"{path}: listed twice: one; a split lists each video once; {TRY}"


def test_lines_are_cut_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\u2028still one\ntwo\n", encoding="utf-8")
    assert files.read_lines(path) == ["one\u2028still one", "two"]


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        files.read_bytes(path)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "large"
    path.write_bytes(bytes(2**20 + 1))
    with pytest.raises(InputError) as caught:
        files.read_bytes(path)
    assert message(caught) == f"{path}: too large; annotations have at most 1 MiB; {TRY}"


def test_a_zip_member_is_found_in_a_folder_of_the_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"data/a.json": "inside", "__MACOSX/data/a.json": "junk"})
    assert files.read_zip_member(path, "a.json") == b"inside"
    assert files.read_zip_member(path, "b.json") is None


def test_a_member_that_points_outside_is_neither_read_nor_written(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = write_zip(folder / "a.zip", {"../a.json": "evil", "../../a.json": "evil"})
    assert files.read_zip_member(path, "a.json") is None
    assert [item.name for item in tmp_path.rglob("*")] == ["inner", "a.zip"]


def test_an_absurd_size_is_refused_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2**20)
    path = write_zip(tmp_path / "a.zip", {"a.json": " " * (2**20 + 1)})
    with pytest.raises(InputError) as caught:
        files.read_zip_member(path, "a.json")
    assert message(caught) == (
        f"{path}: a.json claims 1,048,577 bytes; annotations have at most 1 MiB; {TRY}"
    )


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x/a.json": "1", "y/a.json": "2"})
    with pytest.raises(InputError, match=r"2 members are called a\.json; one member per name"):
        files.read_zip_member(path, "a.json")


@pytest.mark.parametrize("damage", ["cut", "text", "flipped", "encrypted"])
def test_a_damaged_zip_is_one_message(tmp_path: Path, damage: str) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.json": "0123456789" * 100})
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-30]
    elif damage == "text":
        content = bytearray(b"not a zip")
    elif damage == "flipped":
        content[45] ^= 0xFF
    else:  # bit 0 of the flags, in the local and in the central header
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a zip: .*; a whole, unencrypted zip file; "):
        files.read_zip_member(path, "a.json")


def test_the_zip_reader_agrees_with_zipfile(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.json": "text"})
    with zipfile.ZipFile(path) as archive:
        assert archive.read("a.json") == files.read_zip_member(path, "a.json")


def _write(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_delimiters_line_ends_and_a_byte_order_mark(
    tmp_path: Path, delimiter: str, line_end: str, start: str
) -> None:
    lines = [["key", "video_id"], ["k0", "v0"], [], ["k1", "v1"]]
    path = _write(tmp_path, start + line_end.join(delimiter.join(line) for line in lines))
    table = read_table(path, required=("video_id",))
    assert table.columns == ("key", "video_id")
    assert table.rows == [(2, {"key": "k0", "video_id": "v0"}), (4, {"key": "k1", "video_id": "v1"})]


def test_quoted_cells_may_hold_delimiters_and_newlines(tmp_path: Path) -> None:
    path = _write(tmp_path, '"video_id","text"\nv0,"one, ""two""\nthree"\n')
    assert read_table(path, required=("text",)).rows == [(3, {"video_id": "v0", "text": 'one, "two"\nthree'})]


def test_a_missing_column_shows_the_header(tmp_path: Path) -> None:
    path = _write(tmp_path, "id,text\n1,a\n")
    with pytest.raises(InputError) as caught:
        read_table(path, required=("video_id", "sentence"))
    assert message(caught) == (
        f"{path}: the first line is 'id,text'; it must name the columns video_id, sentence, "
        "separated by comma, semicolon or TAB; mend the file or get it again; `vtr datasets list` says where from"
    )


def test_an_empty_table_has_no_header(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the first line is ''"):
        read_table(_write(tmp_path, ""), required=("video_id",))


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the header names a column twice"):
        read_table(_write(tmp_path, "video_id,text,text\nv,a,b\n"), required=("video_id",))


def test_an_unquoted_comma_is_explained(tmp_path: Path) -> None:
    path = _write(tmp_path, "video_id,text\nv0,a\nv1,a dog, asleep\n")
    with pytest.raises(InputError) as caught:
        read_table(path, required=("video_id",))
    assert message(caught) == (
        f"{path}: line 3 has 3 cells; every line has 2: 'video_id,text'; "
        "put a caption that holds ',' between \"quotes\""
    )


def test_an_open_quote_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2 cannot be read: unexpected end of data"):
        read_table(_write(tmp_path, 'video_id,text\nv0,"a\n'), required=("video_id",))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1), min_size=1))
def test_what_csv_writes_is_read_back(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "round.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("video_id", "text"), *((f"v{n}", text) for n, text in enumerate(texts))])
    rows = read_table(path, required=("video_id", "text")).rows
    assert [row["text"] for _, row in rows] == texts


PATH = Path("a.json")


@pytest.mark.parametrize("text", ["", "{", "[1,]", "{'a': 1}", "[" * 100_000, "1" * 400, "1" * 5000])
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"a\.json: the file is not JSON: .*; it must be whole, valid JSON; "
    ):
        Json.parse(text, PATH)


def test_a_repeated_key_is_refused_because_one_would_be_lost() -> None:
    with pytest.raises(InputError) as caught:
        Json.parse('{"v1": ["a"], "v2": ["b"], "v1": ["c"]}', PATH)
    assert message(caught) == (
        f"a.json: the file has the key 'v1' twice in one object; each key once; one of the two would be lost; {TRY}"
    )


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("members", [], "a.json: it is a list; it must be an object"),
        ("items", {}, "a.json: it is an object; it must be a list"),
        ("string", 7, "a.json: it is a number; it must be a string"),
        ("string", None, "a.json: it is null; it must be a string"),
        ("string", b"x", "a.json: it is bytes; it must be a string"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(kind, value, expected) -> None:
    with pytest.raises(InputError) as caught:
        getattr(Json(value, PATH, "it"), kind)()
    assert message(caught) == f"{expected}; {TRY}"


def test_half_of_a_surrogate_pair_is_refused() -> None:
    value = Json.parse('"a \\ud83d dog"', PATH, "sentence 3")
    with pytest.raises(
        InputError, match="sentence 3 is not valid Unicode; ids and captions are Unicode text; "
    ):
        value.string()


def test_a_missing_key_shows_the_keys_that_are_there() -> None:
    with pytest.raises(InputError) as caught:
        Json({"id": 1, "text": 2}, PATH, "line 3")["caption"]
    assert message(caught) == (
        f"a.json: line 3 has no key 'caption'; it has 'id', 'text', and must have 'caption'; {TRY}"
    )
