"""`make bench`: sections run, rows are kept, and the table says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = ["extraction", "training", "evaluation", "queries", "moments"]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/suite/results.py, as the script imports it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from suite import results

    return results


def row(what: str, ours: list[float], peer: list[float], limit: list[float] | None = None) -> dict[str, Any]:
    def timed(name: str, seconds: list[float]) -> dict[str, Any]:
        return {"name": name, "seconds": seconds, "processor_seconds": seconds}

    return {
        "what": what,
        "ours": timed("vtr", ours),
        "peers": [timed("the peer", peer)],
        "limit": None if limit is None else timed("memory", limit),
        "per_round": [50, "videos"],
        "parts": [],
        "notes": [],
        "left_out": {},
    }


def section(results: Any, *rows: dict[str, Any], failure: str = "") -> dict[str, Any]:
    return {
        "machine": results.machine(),
        "size": "size usual",
        "rows": rows,
        "seconds": 9,
        "failure": failure,
    }


def test_ratios_are_taken_round_by_round_and_a_row_that_the_peer_wins_stays(results: Any) -> None:
    rows = [row("a", [1, 10, 2], [2, 30, 4], [0.5, 5, 1]), row("b", [2, 2], [1, 1])]
    assert results.table({"queries": section(results, *rows)}).splitlines()[2:5] == [
        "| a | 2.0 s (25 videos/s) | the peer | 4.0 s (12.5 videos/s) | **2** (2 to 3) |  |",
        "|  |  | the limit: memory | 1.0 s (50 videos/s) |  | 50 % |",
        "| b | 2.0 s (25 videos/s) | the peer | 1.0 s (50 videos/s) | **0.5** (0.5 to 0.5) |  |",
    ]


def test_a_section_measured_again_leaves_the_others_as_they_were(results: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    for name in ("moments", "queries", "moments"):
        results.keep(path, name, section(results, row(name, [1], [2])))
    kept = results.read(path)
    assert sorted(kept) == ["moments", "queries"] and len(kept["moments"]["rows"]) == 1
    assert json.loads(path.read_text())["schema"] == 1


def test_the_table_goes_between_the_marks_and_a_page_without_them_is_left_alone(
    results: Any, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.write_page(page, {"moments": section(results, row("a", [1], [2]), failure="it broke")})
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "**It broke.**" in text
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks <!-- bench begins -->"):
        results.write_page(page, {})
    assert page.read_text() == "no marks"


def bench(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "bench.py"),
        "--size",
        "smoke",
        "--work",
        str(folder),
    ]
    return subprocess.run([*command, *options], capture_output=True, text=True)


def test_a_section_that_takes_too_long_costs_itself_alone(tmp_path: Path) -> None:
    done = bench("--only", "moments", "--minutes", "0.0001", folder=tmp_path)
    assert done.returncode == 1
    assert "moments: it took more than 0.0001 minutes (--minutes); the rest goes on" in done.stdout
    assert json.loads((tmp_path / "bench.json").read_text())["sections"]["moments"]["rows"] == []


@pytest.mark.slow
def test_every_section_runs_at_its_smallest_size(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- bench begins -->\n<!-- bench ends -->\n")
    done = bench("--write", str(page), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())["sections"]
    assert list(found) == SECTIONS
    for name, kept in found.items():
        assert kept["rows"] and kept["failure"] == "", name
        assert all(row["peers"] or row["left_out"] for row in kept["rows"]), name
    assert "| extract 4 clips" in page.read_text() and "**moments**" in page.read_text()
