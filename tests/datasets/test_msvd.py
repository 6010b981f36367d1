"""MSVD from JSON or from the pickle, with the same captions; a pickle that could run code or eat the memory is refused
before it is unpickled.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest

from tests.datasets.layouts import message, write_json, write_lists
from vtrcli.datasets import msvd
from vtrcli.datasets.msvd import read_plain_pickle
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


class _RunsCode:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.victim,))


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "raw-captions.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_text_of_every_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    value = {"v0": [["a", "café"], ["a", "café"]], "v1": [("one", "two", "three", "four")], "v2": []}
    assert read_plain_pickle(_write(tmp_path, pickle.dumps(value, protocol))) == value


def test_strings_of_python_2_are_read(tmp_path: Path) -> None:
    path = _write(tmp_path, b"(dp0\nS'v0'\np1\n(lp2\n(lp3\nU\x03catp4\naas.")
    assert read_plain_pickle(path) == {"v0": [["cat"]]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_not_run(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "victim"
    path = _write(tmp_path, pickle.dumps({"v0": _RunsCode(victim)}, protocol))
    with pytest.raises(InputError, match="of the pickle is (GLOBAL|STACK_GLOBAL|REDUCE)"):
        read_plain_pickle(path)
    assert not victim.exists()


def test_the_message_names_what_would_have_run(tmp_path: Path) -> None:
    path = _write(tmp_path, b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError) as caught:
        read_plain_pickle(path)
    assert message(caught) == (
        f"{path}: byte 0 of the pickle is GLOBAL (os system); dicts, lists, tuples and strings only; "
        "nothing in it is run; do not trust this file; use captions_msvd.json"
    )


def test_a_huge_memo_index_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, b"}r" + struct.pack("<I", 2**32 - 1) + b".")
    with pytest.raises(InputError, match="asks for memo 4294967295"):
        read_plain_pickle(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"}",
        b".",
        b"}(]",
        b"(lp0\n(}s.",
        b"}](s.",
        b"h\x05.",
        b"]\x8c\x01a\x8c\x01bs.",
        b"U\x01\xff.",
    ],
)
def test_nonsense_is_one_message(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"raw-captions\.pkl: "):
        read_plain_pickle(_write(tmp_path, content))
