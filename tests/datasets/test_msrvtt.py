"""The three protocols of MSR-VTT from one folder of files as they are handed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.layouts import message, write_json, write_msrvtt
from vtrcli.datasets import msrvtt
from vtrcli.errors import InputError


def test_1ka_trains_on_all_captions_of_the_list(tmp_path: Path) -> None:
    split = msrvtt.load_1ka(write_msrvtt(tmp_path), "train")
    assert split.video_ids == ("v0", "v1", "v2", "v3", "v4")
    assert [caption.text for caption in split.captions[:3]] == [
        "caption 0 of v0",
        "caption 1 of v0",
        "caption 0 of v1",
    ]
    assert len(split.captions) == 10


def test_1ka_tests_on_pairs_in_the_order_of_the_file(tmp_path: Path) -> None:
    split = msrvtt.load_1ka(write_msrvtt(tmp_path), "test")
    assert split.video_ids == ("v6", "v5")
    assert [caption.text for caption in split.captions] == ["a dog, asleep", "a cat walks"]


def test_the_pairs_alone_are_enough_for_testing(tmp_path: Path) -> None:
    (tmp_path / msrvtt.PAIRS).write_bytes(b"key;vid_key;video_id;sentence\r\nret0;msr1;v1;a dog, asleep")
    split = msrvtt.load_7k(tmp_path, "test")
    assert [caption.text for caption in split.captions] == ["a dog, asleep"]
    assert split.categories == {}


def test_categories_are_named_by_category_txt(tmp_path: Path) -> None:
    assert msrvtt.load_1ka(write_msrvtt(tmp_path), "test").categories == {"v6": "kind 2", "v5": "kind 1"}


def test_7k_needs_only_the_train_and_validation_json(tmp_path: Path) -> None:
    write_msrvtt(tmp_path)
    (tmp_path / "test_videodatainfo.json.zip").unlink()
    assert msrvtt.load_7k(tmp_path, "train").video_ids == ("v3", "v2", "v1", "v0")


@pytest.mark.parametrize(
    ("split", "video_ids"),
    [("train", ("v0", "v1")), ("val", ("v2", "v3")), ("test", ("v4", "v5", "v6"))],
)
def test_the_full_split_is_the_one_in_the_json(
    tmp_path: Path, split: str, video_ids: tuple[str, ...]
) -> None:
    found = msrvtt.load_full(write_msrvtt(tmp_path), split)
    assert found.video_ids == video_ids
    assert len(found.captions) == 2 * len(video_ids)


def test_a_json_without_the_split_is_refused(tmp_path: Path) -> None:
    data = {"videos": [{"video_id": "v0"}], "sentences": []}
    path = write_json(tmp_path / "MSRVTT_data.json", data)
    with pytest.raises(InputError) as caught:
        msrvtt.load_full(tmp_path, "train")
    assert message(caught).startswith(f"{path}: no video in the split train; ")


def test_a_list_of_another_release_is_refused(tmp_path: Path) -> None:
    write_msrvtt(tmp_path)
    (tmp_path / msrvtt.TRAIN_9K).write_text("video_id\nv0\nw1\n")
    with pytest.raises(InputError) as caught:
        msrvtt.load_1ka(tmp_path, "train")
    assert message(caught) == (
        f"{tmp_path / msrvtt.TRAIN_9K}: 1 of 2 videos have no caption in {tmp_path}: w1; "
        "every video of a split has a caption; use a list and captions of the same release"
    )


def test_pairs_that_name_a_video_twice_are_refused(tmp_path: Path) -> None:
    (tmp_path / msrvtt.PAIRS).write_text("video_id,sentence\nv1,a\nv1,b\n")
    with pytest.raises(InputError, match="listed twice: v1; a split lists each video once"):
        msrvtt.load_1ka(tmp_path, "test")


def test_an_empty_sentence_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / msrvtt.PAIRS).write_text("video_id,sentence\nv1,a\nv2,\n")
    with pytest.raises(InputError, match="the sentence of line 3 is empty"):
        msrvtt.load_1ka(tmp_path, "test")
