"""The state of a store: another one after each change that an answer rests on, and only then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import make_store
from vtrcli.store.config import BANK_NAME, CONFIG_NAME, INDEX_FOLDER
from vtrcli.store.roots import ROOTS_NAME
from vtrcli.store.state import store_state

ROWS = {"a": np.eye(4)[:2], "b": np.eye(4)[2:]}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", ROWS)


def _again(store: Path) -> None:
    """The same bytes in another folder of the same name, with the same times."""
    shutil.copytree(store, store.with_name("other"))
    shutil.rmtree(store)
    store.with_name("other").rename(store)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a shard more": lambda store: make_store(store, {"c": np.eye(4)[1:3]}),
    "a shard less": lambda store: next((store / "shards").iterdir()).unlink(),
    "a shard that was touched": lambda store: os.utime(next((store / "shards").iterdir()), (1, 1)),
    "roots": lambda store: (store / ROOTS_NAME).write_text("{}\n"),
    "a bank": lambda store: (store / BANK_NAME).write_bytes(b"0"),
    "another description": lambda store: os.utime(store / CONFIG_NAME, (1, 1)),
    "the same bytes in a new folder": _again,
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "failures": lambda store: (store / "failures.jsonl").write_text("{}\n"),
    "what is derived": lambda store: (store / INDEX_FOLDER).mkdir(),
    "a shard that is being written": lambda store: (store / "shards" / ".tmp-1.safetensors").write_bytes(b""),
    "annotations": lambda store: (store / "annotations.jsonl").write_text("{}\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_changes_with_what_an_answer_rests_on(store: Path, change: str) -> None:
    before = store_state(store)
    assert store_state(store) == before
    CHANGES[change](store)
    assert store_state(store) != before


@pytest.mark.parametrize("change", NO_CHANGES)
def test_it_stays_with_all_else(store: Path, change: str) -> None:
    before = store_state(store)
    NO_CHANGES[change](store)
    assert store_state(store) == before


def test_by_a_link_it_is_the_same_store(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store)
    assert store_state(tmp_path / "link") == store_state(store)


def test_no_store_has_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=CONFIG_NAME):
        store_state(tmp_path)
