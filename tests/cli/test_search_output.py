"""The table keeps its numbers on a narrow terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vtrcli.cli import search_output
from vtrcli.moments.moment import Moment
from vtrcli.searching.results import Hit


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
