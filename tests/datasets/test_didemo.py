"""DiDeMo: one paragraph per listed video, its descriptions in the order of the file, as published loaders join them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.layouts import message, write_json, write_lists
from vtrcli.datasets import didemo
from vtrcli.errors import InputError


def _moment(video: str, text: object, times: object) -> dict[str, object]:
    return {"video": video, "description": text, "times": times, "num_segments": 6, "annotation_id": 1}


def test_descriptions_are_joined_in_the_order_of_the_file(tmp_path: Path) -> None:
    moments = [
        _moment("b@N01_2.", "last", [[3, 3], [5, 5]]),
        _moment("a@N01_1.mov", "only one\nline", [[0, 0]]),
        _moment("b@N01_2.", "second", [[0, 0], [6, 6]]),
        _moment("b@N01_2.", "first", [[0, 5], [0, 5]]),
        _moment("not_listed.avi", "left out", [[0, 0]]),
    ]
    write_json(tmp_path / "test_data.json", moments)
    write_lists(tmp_path, test=["a@N01_1.mov", "b@N01_2."])
    split = didemo.load(tmp_path, "test")
    assert split.video_ids == ("a@N01_1.mov", "b@N01_2.")
    assert [caption.text for caption in split.captions] == ["only one line", "last second first"]


def test_train_data_is_missed_only_when_it_is_asked_for(tmp_path: Path) -> None:
    write_json(tmp_path / "val_data.json", [_moment("a.mp4", "text", [[0, 0]])])
    write_lists(tmp_path, train=["b.mp4"], val=["a.mp4"])
    assert didemo.load(tmp_path, "val").video_ids == ("a.mp4",)
    with pytest.raises(InputError) as caught:
        didemo.load(tmp_path, "train")
    assert message(caught) == (
        f"{tmp_path} holds no train_data.json; this split is read from it; "
        "put it there; `vtr datasets list` says where researchers get it"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "the file is an object; it must be a list"),
        ([7], "entry 0 is a number; it must be an object"),
        ([_moment("v", 7, [[0, 0]])], "'description' of entry 0 is a number; it must be a string"),
    ],
)
def test_data_of_another_shape_is_refused(tmp_path: Path, data: object, expected: str) -> None:
    write_lists(tmp_path, val=["v"])
    path = write_json(tmp_path / "val_data.json", data)
    with pytest.raises(InputError) as caught:
        didemo.load(tmp_path, "val")
    assert message(caught).startswith(f"{path}: {expected}; ")
