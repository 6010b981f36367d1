"""A text that was asked before gives the very same vector, for the same model alone, and nothing else is trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vtrcli.searching import query_cache
from vtrcli.searching.query_cache import QueryCache, cache_folder

VECTOR = np.arange(4, dtype=np.float32) / 3


def cache(store: Path, model_id: str = "one", width: int = 4) -> QueryCache:
    return QueryCache(cache_folder(store), model_id=model_id, width=width)


def test_what_was_put_is_got_back_by_text_and_model(tmp_path: Path) -> None:
    cache(tmp_path).put("a dog 🐕 \udce9", VECTOR, was_cut=True)
    vector, was_cut = cache(tmp_path).get("a dog 🐕 \udce9") or (None, None)
    assert vector is not None and vector.tolist() == VECTOR.tolist() and was_cut is True
    assert cache(tmp_path).get("a dog") is None
    assert cache(tmp_path, model_id="two").get("a dog 🐕 \udce9") is None
    assert cache(tmp_path, width=5).get("a dog 🐕 \udce9") is None


@pytest.mark.parametrize("where", [0, 9, -1, -9])
def test_a_damaged_file_is_as_if_it_was_not_there(tmp_path: Path, where: int) -> None:
    cache(tmp_path).put("a dog", VECTOR, was_cut=False)
    (path,) = (tmp_path / "index" / "queries").iterdir()
    body = bytearray(path.read_bytes())
    body[where] ^= 0xFF
    path.write_bytes(body)
    assert cache(tmp_path).get("a dog") is None


def test_vectors_that_are_not_finite_are_not_used(tmp_path: Path) -> None:
    cache(tmp_path).put("a dog", VECTOR * np.nan, was_cut=False)
    assert cache(tmp_path).get("a dog") is None


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_cache, "MAX_QUERIES", 8)
    for number in range(12):
        cache(tmp_path).put(str(number), VECTOR, was_cut=False)
    assert cache(tmp_path).get("11") is not None
    assert len(list((tmp_path / "index" / "queries").iterdir())) <= 8


def test_a_store_that_cannot_be_written_keeps_nothing_and_complains_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("not a folder")
    cache(tmp_path).put("a dog", VECTOR, was_cut=False)
    assert cache(tmp_path).get("a dog") is None
