"""MSVD from JSON or from the pickle, with the same captions."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.datasets.layouts import message, write_json, write_lists
from vtrcli.datasets import msvd
from vtrcli.errors import InputError

CAPTIONS = {"-a_1_2": ["a dog runs", "it s a dog"], "b_0_9": ["two cats"]}


def test_the_json_and_the_pickle_say_the_same(tmp_path: Path) -> None:
    write_lists(tmp_path, train=["b_0_9", "-a_1_2"])
    words = {video_id: [text.split() for text in texts] for video_id, texts in CAPTIONS.items()}
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps(words, 2))
    of_pickle = msvd.load(tmp_path, "train")
    write_json(tmp_path / "captions_msvd.json", CAPTIONS)
    assert msvd.load(tmp_path, "train") == of_pickle
    assert of_pickle.video_ids == ("b_0_9", "-a_1_2")
    assert [caption.text for caption in of_pickle.captions] == ["two cats", "a dog runs", "it s a dog"]


def test_tuples_in_the_pickle_are_lists(tmp_path: Path) -> None:
    write_lists(tmp_path, val=["v"])
    (tmp_path / "raw-captions.pkl").write_bytes(pickle.dumps({"v": (("a", "dog"),)}))
    assert [caption.text for caption in msvd.load(tmp_path, "val").captions] == ["a dog"]


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ([["v"]], "the file is a list; it must be an object"),
        ({"v": "a dog"}, "the entry of v is a string; it must be a list"),
        ({"v": [7]}, "a caption of v is a number; it must be a string"),
        ({"v": [["a", 7]]}, "a caption of v is a number; it must be a string"),
    ],
)
def test_captions_of_another_shape_are_refused(tmp_path: Path, captions: object, expected: str) -> None:
    write_lists(tmp_path, test=["v"])
    path = write_json(tmp_path / "captions_msvd.json", captions)
    with pytest.raises(InputError) as caught:
        msvd.load(tmp_path, "test")
    assert message(caught).startswith(f"{path}: {expected}; ")


def test_a_small_pickle_that_stands_for_much_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(msvd, "MAX_CHARACTERS", 100_000)
    write_lists(tmp_path, test=["v"])
    sentence = ["word"] * 100
    path = tmp_path / "raw-captions.pkl"
    path.write_bytes(pickle.dumps({"v": [sentence] * 1000}))
    assert path.stat().st_size < 5000
    with pytest.raises(InputError) as caught:
        msvd.load(tmp_path, "test")
    assert message(caught) == (
        f"{path}: too much text; 100,000 characters in one split; "
        "mend the file or get it again; `vtr datasets list` says where from"
    )
