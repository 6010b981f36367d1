"""The counts of the real annotation files, which are not part of the project (VTR_TEST_DATA)."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtrcli.datasets.registry import DATASETS, check_dataset, load_split


@pytest.mark.parametrize("name", ["msrvtt-1ka", "msrvtt-7k", "msrvtt-full", "msvd", "didemo", "activitynet"])
def test_the_real_files_hold_what_the_list_says(test_data: Path, name: str) -> None:
    folder = test_data / "annotations" / name.split("-")[0]
    rows = {row.split: row for row in check_dataset(name, folder)}
    if name == "didemo" and not (folder / "train_data.json").exists():
        assert "holds no train_data.json" in str(rows.pop("train").problem)
    assert [row.problem for row in rows.values()] == [None] * len(rows)
    assert {split: row.num_videos for split, row in rows.items()}.items() <= DATASETS[name].num_videos.items()


def test_every_video_of_the_full_split_has_20_captions(test_data: Path) -> None:
    split = load_split("msrvtt-full", test_data / "annotations" / "msrvtt", "val")
    assert [caption.video_id for caption in split.captions[::20]] == list(split.video_ids)
    assert len(set(split.categories.values())) == 20


def test_the_semicolon_variant_says_the_same(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "annotations" / "msrvtt"
    variant = folder / "variants" / "MSRVTT_JSFUSION_test.semicolon-crlf.csv"
    (tmp_path / "MSRVTT_JSFUSION_test.csv").symlink_to(variant.resolve())
    variant_split = load_split("msrvtt-1ka", tmp_path, "test")
    assert variant_split.captions == load_split("msrvtt-1ka", folder, "test").captions
    assert len({caption.text for caption in variant_split.captions}) == 995  # some sentences fit two videos


def test_the_pickle_of_msvd_says_the_same_as_the_json(test_data: Path, tmp_path: Path) -> None:
    folder = (test_data / "annotations" / "msvd").resolve()
    for name in ("test_list.txt", "raw-captions.pkl"):
        (tmp_path / name).symlink_to(folder / name)
    assert load_split("msvd", tmp_path, "test") == load_split("msvd", folder, "test")


def test_activitynet_paragraphs_have_up_to_332_words(test_data: Path) -> None:
    split = load_split("activitynet", test_data / "annotations" / "activitynet", "test")
    assert max(len(caption.text.split()) for caption in split.captions) == 332
