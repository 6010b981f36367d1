"""Every table fits a terminal of 80 columns: nothing is cut to dots, and what is left out is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.runner import plain, run, run_on_terminal

DEEP = "a/folder/deep/below/with/a/rather-long-name-2019-06-30/and-another-one/broken-file.mp4"


@pytest.fixture(autouse=True)
def in_demo(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    (demo / "vtr.toml").write_text(
        'store = "store"\nvideos = "videos"\nbackbone = "demo"\ndataset = "csv"\nannotations = "."\n'
        '[search]\nstore = "a/folder/deep/below/with/a/rather-long-name-2019-06-30/store"\n',
        encoding="utf-8",
    )


def shown(*arguments: str, columns: int = 80, exit_code: int = 0) -> str:
    code, output = run_on_terminal(*arguments, columns=columns)
    text = plain(output)
    assert code == exit_code, text
    assert "…" not in text
    table = [line for line in text.split("\n") if not line.startswith(("error:", "hint:"))]
    assert [line for line in table if cell_len(line) > columns] == []
    return text


def unfolded(text: str) -> str:
    return "".join(text.split())


def test_models() -> None:
    text = shown("models", "list")
    for name in ("ViT-B/32", "ViT-L/14@336px", "demo", "absent", "ready", "336 px", "448 M", "Apache-2.0"):
        assert name in text


def test_datasets() -> None:
    text = shown("datasets", "list")
    assert "msrvtt-1ka  MSR-VTT, 1k-A protocol" in text
    assert "    holds: train 9,000 videos / 180,000 captions, test 1,000 videos" in text
    assert unfolded("test_videodatainfo.json (or test_videodatainfo.json.zip)") in unfolded(text)


def test_settings_and_which_command_they_are_for() -> None:
    text = shown("config")
    assert "backbone" in text and "vtr.toml" in text
    assert text.count("vtr.toml") == len(("annotations", "backbone", "dataset", "store", "store", "videos"))
    assert "only for" in text


def test_failures_keep_reason_and_file(demo: Path) -> None:
    broken = demo / DEEP
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"x" * 300)
    try:
        run("extract", str(broken), "--quiet")
        text = shown("store", "failures", columns=70)
        assert "not-a-video" in text
        assert "a/folder/deep/below/with/a" in text
        assert "not shown, for want of room: when" in text
        piped = run("store", "failures").stdout
        assert piped.count("\n") == 2 and DEEP in piped
    finally:
        broken.unlink()
        (demo / "store" / "failures.jsonl").unlink()


def test_splits_of_a_data_set() -> None:
    text = shown("datasets", "check", "csv", "--annotations", ".")
    assert "fine" in text
    text = shown("datasets", "check", "msvd", "--annotations", ".", exit_code=3)
    assert "48,774" in text and unfolded("`vtr datasets list` says where") in unfolded(text)


@pytest.mark.slow
def test_evaluations_and_their_comparison(tmp_path: Path) -> None:
    ranks = str(tmp_path / "ranks.json")
    text = shown("eval", "--dsl", "--method", "inverted-softmax", "--quiet", "--save-ranks", ranks)
    for name in ("t2v", "v2t", "inverted-softmax", "R@1", "MdR", "one at a time", "all at once"):
        assert name in text
    assert "not shown, for want of room: R@50" in text
    wide = shown("eval", "--dsl", "--quiet", columns=140)
    assert "R@50" in wide and "not shown" not in wide and "(transductive)" in wide
    assert "B - A" in shown("compare", ranks, ranks)


@pytest.mark.slow
def test_searches() -> None:
    store = ("--store", "store", "--run", "none")
    assert shown("search", "a red circle", "-k", "3", *store).count("videos/") >= 3
    shown("search", "a red circle", "-k", "3", *store, columns=40)
