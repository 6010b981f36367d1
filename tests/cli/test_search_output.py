"""The table keeps its numbers on a narrow terminal, and times hold all of a moment."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vtrcli.cli import search_output
from vtrcli.searching.moments import Moment
from vtrcli.searching.results import Hit
from vtrcli.times import time_span


def hit(rank: int, path: str) -> Hit:
    moments = tuple(Moment(start, start + 0.4, start + 0.6, 0.5) for start in (2.4, 10.1))
    return Hit(
        rank=rank, video_id="a", path=path, score=0.72, moments=moments, is_missing=rank == 1, relevance=2.9
    )


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_numbers_never_shrink(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(search_output, "stdout", lambda: Console(file=out, width=width))
    search_output.print_table([hit(rank, f"/videos/a/very/long/path/clip-{rank}.mp4") for rank in (1, 10)])
    lines = out.getvalue().splitlines()
    firsts = [line for line in lines if "0.72" in line]
    assert [line.split()[:4] for line in firsts] == [
        [str(rank), "0.72", "+2.9", "0:02.4-0:03.0"] for rank in (1, 10)
    ]
    assert "clip-10.mp4" in "".join(line.strip() for line in lines)
    assert all(len(line) <= width for line in lines)


def test_nothing_found_is_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    search_output.print_table([])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (4.75, 6.75, "0:04-0:07"),
        (0.0, 0.88, "0:00.0-0:00.9"),
        (59.97, 61.0, "1:00.0-1:01.0"),
        (72.0, 91.0, "1:12-1:31"),
        (3599.2, 3723.5, "59:59-1:02:04"),
    ],
)
def test_a_span_in_whole_seconds_holds_all_of_it_and_a_short_one_has_tenths(
    start: float, end: float, shown: str
) -> None:
    assert time_span(start, end) == shown
