"""ActivityNet: one paragraph per video, sentences in the order of the file, as published loaders join them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets.layouts import message, write_json
from vtrcli.datasets import activitynet
from vtrcli.errors import InputError


def test_sentences_are_cleaned_and_joined_in_the_order_of_the_file(tmp_path: Path) -> None:
    videos = {
        "v_b": {"duration": 9, "timestamps": [[4.5, 99], [0, 2]], "sentences": ["  Then\nthis.", " First."]},
        "v_a": {"duration": 9, "timestamps": [[0, 2]], "sentences": ["Only."]},
    }
    write_json(tmp_path / "val_1.json", videos)
    split = activitynet.load(tmp_path, "test")
    assert split.video_ids == ("v_b", "v_a")
    assert [caption.text for caption in split.captions] == ["Then this. First.", "Only."]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], "the file is a list; it must be an object"),
        (
            {"v_a": {"sentences": ["a"]}},
            "v_a has no key 'timestamps'; it has 'sentences', and must have 'timestamps'",
        ),
        (
            {"v_a": {"sentences": ["a"], "timestamps": []}},
            "v_a has 1 sentences and 0 timestamps; as many as sentences, at least one",
        ),
        (
            {"v_a": {"sentences": [], "timestamps": []}},
            "v_a has 0 sentences and 0 timestamps; as many as sentences, at least one",
        ),
        (
            {"v_a": {"sentences": [" "], "timestamps": [[0, 1]]}},
            "a sentence of v_a is empty; every caption has a text",
        ),
        ({}, "no video in the split train; a split has at least one video"),
    ],
)
def test_data_of_another_shape_is_refused(tmp_path: Path, data: object, expected: str) -> None:
    path = write_json(tmp_path / "train.json", data)
    with pytest.raises(InputError) as caught:
        activitynet.load(tmp_path, "train")
    assert message(caught).startswith(f"{path}: {expected}; ")
