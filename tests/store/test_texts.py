"""Caption features are found by their text, whatever file they lie in, and only for their tagger and backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import SHA256
from vtrcli.errors import StoreError
from vtrcli.store.texts import TextCache, TextRows, write_texts

STREAMS = ("fusion", "entity")


def write(store: Path, texts: list[str], *, first: float, tagger_id: str = "t-1") -> None:
    features = first + np.arange(len(texts) * 2 * 3, dtype=np.float32).reshape(len(texts), 2, 3)
    mask = np.array([[True, "noun" in text] for text in texts])
    write_texts(
        store, texts, TextRows(features, mask), streams=STREAMS, tagger_id=tagger_id, backbone_sha256=SHA256
    )


def open_cache(store: Path, *, tagger_id: str = "t-1", sha256: str = SHA256) -> TextCache:
    return TextCache(store, streams=STREAMS, tagger_id=tagger_id, backbone_sha256=sha256)


def test_rows_come_in_the_order_asked_for_from_several_files(tmp_path: Path) -> None:
    write(tmp_path, ["a noun", "", "日本 🎥"], first=0)
    write(tmp_path, ["two\nlines"], first=100)
    rows = open_cache(tmp_path).rows(["two\nlines", "a noun", "日本 🎥", "a noun"])
    assert rows.features[:, 0, 0].tolist() == [100, 0, 12, 0]
    assert rows.features[:, 1, 2].tolist() == [105, 5, 17, 5]
    assert rows.mask.tolist() == [[True, False], [True, True], [True, False], [True, True]]


def test_missing_texts_are_named_once(tmp_path: Path) -> None:
    write(tmp_path, ["a"], first=0)
    cache = open_cache(tmp_path)
    assert cache.missing(["b", "a", "c", "b"]) == ["b", "c"]
    with pytest.raises(StoreError) as caught:
        cache.rows(["a", "b"])
    assert str(caught.value) == (
        "1 of 2 captions have no features, the first is 'b'; captions that `vtr cache` has encoded; "
        "run `vtr cache` with the same --dataset, --annotations and --tagger"
    )


def test_another_tagger_or_backbone_finds_nothing(tmp_path: Path) -> None:
    write(tmp_path, ["a"], first=0)
    assert len(open_cache(tmp_path)) == 1
    assert len(open_cache(tmp_path, tagger_id="t-2")) == 0
    assert len(open_cache(tmp_path, sha256="cd" * 32)) == 0


def test_a_damaged_text_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["a"], first=0)
    (path,) = (tmp_path / "text").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is damaged"):
        open_cache(tmp_path)
