"""A pickle of plain text is read; one that could run code or eat the memory is refused before it is unpickled."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest

from tests.datasets.layouts import message
from vtrcli.datasets.plain_pickle import read_plain_pickle
from vtrcli.errors import InputError


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
