"""The three protocols of MSR-VTT from one folder of files as they are handed on: plain, zipped or combined."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.layouts import message, official, write_json, write_msrvtt, write_zip
from vtrcli.datasets import msrvtt
from vtrcli.datasets.msrvtt import TEST, TRAIN_VAL, read_official
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


def test_zips_plain_files_and_the_combined_file_say_the_same(tmp_path: Path) -> None:
    for name in ("zips", "plain", "combined"):
        (tmp_path / name).mkdir()
    zips = read_official(write_msrvtt(tmp_path / "zips"), TRAIN_VAL, TEST)
    splits = zips.split_of
    train_val = official({video_id: str(split) for video_id, split in splits.items() if split != "test"})
    test = official({video_id: "test" for video_id, split in splits.items() if split == "test"})
    write_json(tmp_path / "plain" / TRAIN_VAL[0], train_val)
    write_json(tmp_path / "plain" / TEST[0], test)
    both = {key: [*train_val[key], *test[key]] for key in ("videos", "sentences")}  # type: ignore[misc]
    write_json(tmp_path / "combined" / "MSRVTT_data.json", both)
    for name in ("plain", "combined"):
        found = read_official(tmp_path / name, TRAIN_VAL, TEST)
        assert (found.captions, found.split_of) == (zips.captions, zips.split_of)
        assert set(found.categories.values()) == {"0", "1", "2", "3"}


def test_a_zip_without_the_json_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / TEST[1], {"readme.txt": "nothing here"})
    with pytest.raises(InputError) as caught:
        read_official(tmp_path, TEST)
    assert message(caught) == (
        f"{path}: the zip holds no test_videodatainfo.json; test_videodatainfo.json is read from it; "
        "mend the file or get it again; `vtr datasets list` says where from"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], "the file is a list; it must be an object"),
        ({"sentences": []}, "the file has no key 'videos'; it has 'sentences', and must have 'videos'"),
        ({"videos": {}, "sentences": []}, "'videos' is an object; it must be a list"),
        ({"videos": [{"video_id": 1}], "sentences": []}, "a 'video_id' is a number; it must be a string"),
        ({"videos": [{"video_id": "v"}] * 2, "sentences": []}, "the video v is there twice; each video once"),
        ({"videos": [], "sentences": ["a"]}, "sentence 0 is a string; it must be an object"),
        (
            {"videos": [], "sentences": [{"video_id": "v", "caption": ["a"]}]},
            "the caption of sentence 0 is a list; it must be a string",
        ),
    ],
)
def test_a_json_of_another_shape_is_refused(tmp_path: Path, data: object, expected: str) -> None:
    path = tmp_path / TEST[0]
    path.write_text(json.dumps(data))
    with pytest.raises(InputError) as caught:
        read_official(tmp_path, TEST)
    assert message(caught) == (
        f"{path}: {expected}; mend the file or get it again; `vtr datasets list` says where from"
    )
