"""Tables are read with the delimiter that fits the header; a row that does not fit is named by its line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.layouts import message
from vtrcli.datasets.tables import read_table
from vtrcli.errors import InputError


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
