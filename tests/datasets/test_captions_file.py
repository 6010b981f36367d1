"""A user's own captions, as a table or as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.layouts import message
from vtrcli.datasets import captions_file
from vtrcli.demo.corpus import captions_csv, plan_corpus
from vtrcli.errors import InputError

ROWS = [
    {"video_id": "b", "caption": "a dog, asleep", "split": "test", "category": "pets"},
    {"video_id": "a", "caption": "café", "split": "train", "category": ""},
    {"video_id": "b", "caption": "one\u2028two", "split": "test", "category": ""},
]


def _csv(folder: Path, text: str) -> Path:
    path = folder / "captions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def _jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "captions.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_table_and_json_lines_say_the_same(tmp_path: Path) -> None:
    lines = [",".join(f'"{cell}"' for cell in row.values()) for row in ROWS]
    path = _csv(tmp_path, "\n".join(["video_id,caption,split,category", *lines]))
    _jsonl(tmp_path, *ROWS)
    of_csv = captions_file.OwnCaptions(path, format="csv").load("test")
    of_folder, of_jsonl = (
        captions_file.OwnCaptions(tmp_path, format=format).load("test") for format in captions_file.FILES
    )
    assert of_csv == of_folder == of_jsonl
    assert of_csv.video_ids == ("b",)
    assert [caption.text for caption in of_csv.captions] == ["a dog, asleep", "one two"]
    assert of_csv.categories == {"b": "pets"}
    assert captions_file.OwnCaptions(path, format="csv").splits == ("train", "test")


@pytest.mark.parametrize("key", ["caption", "sentence", "text"])
def test_captions_may_be_called_sentence_or_text(tmp_path: Path, key: str) -> None:
    _csv(tmp_path, f"{key};video_id\na dog;v\n")
    _jsonl(tmp_path, {"video_id": "v", key: "a dog"})
    for format in ("csv", "jsonl"):
        split = captions_file.OwnCaptions(tmp_path, format=format).load("test")  # type: ignore[arg-type]
        assert [caption.text for caption in split.captions] == ["a dog"]


def test_without_a_split_column_rows_train_and_test(tmp_path: Path) -> None:
    path = _csv(tmp_path, "video_id,caption\nv,a dog\n")
    assert captions_file.OwnCaptions(path, format="csv").splits == ("train", "test")
    with pytest.raises(InputError) as caught:
        captions_file.OwnCaptions(path, format="csv").load("val")
    assert message(caught) == (
        f"{path}: no row belongs to the split val; it has rows of: train, test; "
        "choose another --split, or write the split into the column `split`"
    )


def test_the_captions_of_the_demo_are_read(tmp_path: Path) -> None:
    clips = plan_corpus(num_videos=12)
    _csv(tmp_path, captions_csv(clips))
    for name in captions_file.SPLITS:
        split = captions_file.OwnCaptions(tmp_path, format="csv").load(name)
        wanted = [clip for clip in clips if clip.split == name]
        assert split.video_ids == tuple(clip.video_id for clip in wanted)
        assert [caption.text for caption in split.captions] == [
            text for clip in wanted for text in clip.captions
        ]
        assert split.categories == {clip.video_id: clip.category for clip in wanted}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "id,caption\nv,a\n",
            "the first line is 'id,caption'; it must name the columns video_id, separated by ",
        ),
        (
            "video_id,words\nv,a\n",
            "no column of captions among video_id, words; captions stand in a column called ",
        ),
        ("video_id,caption\nv,\n", "'caption' of line 2 is empty; every caption has a text; "),
        ("video_id,caption\n,a\n", "'video_id' of line 2 is empty; every row names its video; "),
        ("video_id,caption,split\nv,a,dev\n", "'split' of line 2 is 'dev'; train, val or test; mend the row"),
        (
            "video_id,caption,split\nv,a,train\nv,b,test\n",
            "the video v is in two splits; a video belongs to one split; else a model is tested on what it was "
            "trained on; give all rows of a video the same split",
        ),
        ("video_id,caption\n", "no row belongs to the split test; it has rows of: no split at all; "),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = _csv(tmp_path, text)
    with pytest.raises(InputError) as caught:
        captions_file.OwnCaptions(path, format="csv").load("test")
    assert message(caught).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([], "line 1 is a list; it must be an object; "),
        ({"caption": "a"}, "line 1 has no key 'video_id'; it has 'caption', and must have 'video_id'; "),
        ({"video_id": 7, "caption": "a"}, "'video_id' of line 1 is a number; it must be a string; "),
        ({"video_id": "v"}, "line 1 has no key 'caption'; it has 'video_id', and must have 'caption'; "),
        ({"video_id": "v", "caption": ["a"]}, "'caption' of line 1 is a list; it must be a string; "),
        (
            {"video_id": "v", "caption": "a", "split": None},
            "'split' of line 1 is null; it must be a string; ",
        ),
        (
            {"video_id": "v", "caption": "a", "category": 7},
            "'category' of line 1 is a number; it must be a string; ",
        ),
    ],
)
def test_wrong_json_lines_are_refused(tmp_path: Path, row: object, expected: str) -> None:
    path = _jsonl(tmp_path, row)
    with pytest.raises(InputError) as caught:
        captions_file.OwnCaptions(tmp_path, format="jsonl").load("test")
    assert message(caught).startswith(f"{path}: {expected}")


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = _jsonl(tmp_path, {"video_id": "v", "caption": "a"})
    path.write_text(path.read_text() + "\n{oops}\n")
    with pytest.raises(
        InputError, match=r"captions\.jsonl: line 3 is not JSON: .*; it must be whole, valid JSON; "
    ):
        captions_file.OwnCaptions(tmp_path, format="jsonl").load("test")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.csv: no such file; a file that is there; check the path"):
        captions_file.OwnCaptions(tmp_path / "no.csv", format="csv").load("test")


def test_a_file_is_read_once_for_all_splits(tmp_path: Path) -> None:
    path = _csv(tmp_path, "video_id,caption,split\na,a cat,train\nb,a dog,val\n")
    captions = captions_file.OwnCaptions(tmp_path, format="csv")
    assert captions.splits == ("train", "val")
    path.unlink()
    assert [captions.load(name).video_ids for name in captions.splits] == [("a",), ("b",)]


def test_queries_with_windows_are_captions_of_their_videos(tmp_path: Path) -> None:
    """QVHighlights' layout: a query that nothing of a video answers is no caption of it."""
    wrong = {"qid": "b", "query": "a cat", "vid": "v", "relevant_windows": [], "wrong_windows": [[0, 1]]}
    right = {"qid": "a", "query": "a dog", "vid": "v", "duration": 9.0, "relevant_windows": [[0, 2]]}
    _jsonl(tmp_path, wrong)
    with pytest.raises(InputError, match="none of its 1 queries has a window; a query is a caption"):
        captions_file.OwnCaptions(tmp_path, format="jsonl").load("test")
    (tmp_path / "captions.jsonl").write_text(f"{json.dumps(wrong)}\n{json.dumps(right)}\n")
    for split in ("train", "test"):
        loaded = captions_file.OwnCaptions(tmp_path, format="jsonl").load(split)
        assert [(caption.video_id, caption.text) for caption in loaded.captions] == [("v", "a dog")]
