"""Annotation files are read whole, bounded and as UTF-8; each failure names the file and the way out."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from tests.datasets.layouts import message, write_zip
from vtrcli.datasets import reading
from vtrcli.errors import InputError

TRY = "mend the file or get it again; `vtr datasets list` says where from"


def test_a_missing_file_names_all_its_layouts(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        reading.find_file(tmp_path, "a.json", "a.zip")
    assert message(caught) == (
        f"{tmp_path} holds no a.json and no a.zip; this split is read from one of them; "
        "put it there; `vtr datasets list` says where researchers get it"
    )


def test_the_preferred_layout_is_taken(tmp_path: Path) -> None:
    for name in ("a.zip", "a.json"):
        (tmp_path / name).touch()
    assert reading.find_file(tmp_path, "a.json", "a.zip").name == "a.json"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        reading.find_file(tmp_path / "no", "a.json")
    assert message(caught) == (
        f"{tmp_path / 'no'} is not a folder; --annotations is the folder of the data set's annotation files; "
        "check the path; `vtr datasets list` names the files"
    )


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n")
    assert reading.read_video_ids(path) == ["one", "two"]


def test_text_that_is_not_utf8_names_the_line_and_what_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError) as caught:
        reading.read_text(path)
    assert message(caught) == (
        f"{path}: line 1 is not UTF-8: it may be CP1252 ('café'); "
        "text is UTF-8, or UTF-16 with its byte order mark; "
        "save it as UTF-8, for example with `iconv -f CP1252 -t UTF-8`"
    )


def test_a_video_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("one\ntwo\none\n")
    with pytest.raises(InputError) as caught:
        reading.read_video_ids(path)
    assert message(caught) == f"{path}: listed twice: one; a split lists each video once; {TRY}"


def test_lines_are_cut_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\u2028still one\ntwo\n", encoding="utf-8")
    assert reading.read_lines(path) == ["one\u2028still one", "two"]


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        reading.read_bytes(path)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 2**20)
    path = tmp_path / "large"
    path.write_bytes(bytes(2**20 + 1))
    with pytest.raises(InputError) as caught:
        reading.read_bytes(path)
    assert message(caught) == f"{path}: too large; annotations have at most 1 MiB; {TRY}"


def test_a_zip_member_is_found_in_a_folder_of_the_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"data/a.json": "inside", "__MACOSX/data/a.json": "junk"})
    assert reading.read_zip_member(path, "a.json") == b"inside"
    assert reading.read_zip_member(path, "b.json") is None


def test_a_member_that_points_outside_is_neither_read_nor_written(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = write_zip(folder / "a.zip", {"../a.json": "evil", "../../a.json": "evil"})
    assert reading.read_zip_member(path, "a.json") is None
    assert [item.name for item in tmp_path.rglob("*")] == ["inner", "a.zip"]


def test_an_absurd_size_is_refused_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 2**20)
    path = write_zip(tmp_path / "a.zip", {"a.json": " " * (2**20 + 1)})
    with pytest.raises(InputError) as caught:
        reading.read_zip_member(path, "a.json")
    assert message(caught) == (
        f"{path}: a.json claims 1,048,577 bytes; annotations have at most 1 MiB; {TRY}"
    )


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"x/a.json": "1", "y/a.json": "2"})
    with pytest.raises(InputError, match=r"2 members are called a\.json; one member per name"):
        reading.read_zip_member(path, "a.json")


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
        reading.read_zip_member(path, "a.json")


def test_the_zip_reader_agrees_with_zipfile(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.json": "text"})
    with zipfile.ZipFile(path) as archive:
        assert archive.read("a.json") == reading.read_zip_member(path, "a.json")
