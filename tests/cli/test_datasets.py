"""`vtr datasets`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import run, run_json


def test_the_error_of_a_check_counts_the_splits_and_names_what_came_in_first(tmp_path: Path) -> None:
    result = run("datasets", "check", "msvd", "--annotations", str(tmp_path))
    assert result.exit_code == 3
    assert result.stderr == (
        f"vtr: msvd in {tmp_path}: 3 splits with a problem, first train: {tmp_path} holds no train_list.txt; "
        "the published files, whole; see `vtr datasets list` for where they come from\n"
    )


def test_a_check_takes_the_data_set_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "captions.csv").write_text("video_id,caption\nv0,a dog\n", encoding="utf-8")
    (tmp_path / "vtr.toml").write_text('dataset = "csv"\nannotations = "."\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_json("datasets", "check") == run_json("datasets", "check", "csv")


def test_the_list_tells_what_a_data_set_is_and_not_how_it_is_read() -> None:
    for row in run_json("datasets", "list")["datasets"]:
        assert list(row) == [
            "name", "summary", "files", "source", "splits", "num_videos", "num_captions", "max_tokens"
        ]  # fmt: skip


def test_the_list_has_the_data_sets_of_moments_too() -> None:
    names = ["qvhighlights", "charades", "activitynet", "tacos", "tvr"]
    assert [row["name"] for row in run_json("datasets", "list")["moments"]] == names
    shown = run("datasets", "list").stdout
    assert "Moments within a video, for `vtr eval --moments`:" in shown
    assert "highlight_val_release.jsonl or qvhighlights_val.jsonl" in shown
