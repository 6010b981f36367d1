"""The counts of the real annotation files, which are not part of the project (VTR_TEST_DATA)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vtrcli.datasets.registry import DATASETS, check_dataset, load_split, text_limit
from vtrcli.model.clip.tokens import tokenize


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


@pytest.mark.parametrize(("name", "file"), [("didemo", "test_data.json"), ("activitynet", "val_1.json")])
def test_paragraphs_are_those_of_the_published_loaders(test_data: Path, name: str, file: str) -> None:
    folder = test_data / "annotations" / name
    content = json.loads((folder / file).read_text())
    published: dict[str, str] = {}
    if name == "didemo":  # CLIP4Clip: descriptions as they come, one space between them
        for entry in content:
            before = published.get(entry["video"])
            published[entry["video"]] = (
                entry["description"] if before is None else f"{before} {entry['description']}"
            )
    else:
        published = {video: " ".join(entry["sentences"]) for video, entry in content.items()}
    split = load_split(name, folder, "test")
    # Its tokenizer makes white space one space, as loading does here.
    expected = [" ".join(published[video].split()) for video in split.video_ids]
    assert [caption.text for caption in split.captions] == expected


@pytest.mark.parametrize(
    ("name", "limit", "num_cut"),
    [("msrvtt-1ka", 32, 1), ("msvd", 32, 10), ("didemo", 64, 10), ("activitynet", 64, 1275)],
)
def test_the_published_limit_cuts_so_many_test_texts(
    test_data: Path, name: str, limit: int, num_cut: int
) -> None:
    split = load_split(name, test_data / "annotations" / name.split("-")[0], "test")
    assert text_limit(name) == limit
    assert sum(tokenize(caption.text, context_length=limit)[1] for caption in split.captions) == num_cut
