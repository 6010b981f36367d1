"""`vtr search --explain`: the same numbers as the result, in 80 columns, and only for what one head reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import run, run_json
from vtrcli.cli.explain import BLOCKS, MAX_COLUMNS, strip

SENTENCE = "a red circle moves right"


@pytest.fixture(autouse=True)
def in_demo(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)


def test_the_best_result_is_explained_under_the_table() -> None:
    shown = run("search", SENTENCE, "-k", "1", "--explain", "--store", "store", "--run", "runs/demo").stdout
    body = run_json("search", SENTENCE, "-k", "1", "--explain", "--store", "store", "--run", "runs/demo")
    told, best = body["explanation"], body["results"][0]
    assert told["video_id"] == best["video_id"] and told["score"] == pytest.approx(best["score"], abs=1e-4)
    assert "a red [circle] <moves> right   [entity] <action>" in shown
    for expert in told["experts"]:
        assert f"{expert['gate']:.1%}" in shown and f"{expert['contribution']:.4f}" in shown
    lines = shown.splitlines()
    assert lines[-1].split() == ["score", f"{told['score']:.4f}"] and max(map(len, lines)) <= 80
    assert sum(line[-1:] in BLOCKS for line in lines if line) == 4


def test_without_a_run_the_frames_tell() -> None:
    shown = run("search", SENTENCE, "-k", "1", "--explain", "--store", "store", "--run", "none")
    assert "frames (CLIP)" in shown.stdout and "note: no run ranks here" in shown.stdout


@pytest.mark.parametrize(
    "options", [("--not", "a star"), ("--then", "it stops"), ("--store", "other"), ("--paths",)], ids=" ".join
)
def test_what_no_head_reads_is_refused_before_anything_is_loaded(options: tuple[str, ...]) -> None:
    done = run("search", SENTENCE, "--explain", "--store", "store", *options)
    assert done.exit_code == 2
    assert "one sentence alone, one store, the table or --json" in " ".join(done.stderr.split())


def test_a_strip_shows_where_the_scores_are_high() -> None:
    assert strip(np.array([0.0, 0.5, 1.0]), 0.0, 1.0) == "▁▅█"
    assert strip(np.array([0.3, 0.3]), 0.3, 0.3) == "▁▁"
    long = strip(np.linspace(-1, 1, 1000), -1, 1)
    assert len(long) == MAX_COLUMNS and list(long) == sorted(long)
