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


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        (b'"version":"1"', b'"version":"2"', "has format version 2"),
        (b'"streams":"[', b'"streams":"{', "the list of streams cannot be read"),
        (b'"text_offsets":{"dtype":"I64"', b'"text_offsets":{"dtype":"F16"', "is damaged"),
        (np.array([0, 2], "<i8").tobytes(), np.array([0, 9], "<i8").tobytes(), "the offsets do not cut"),
        ("é".encode(), b"\xff\xff", "a text is not UTF-8"),
    ],
)
def test_a_crafted_text_file_is_refused_with_its_own_advice(
    tmp_path: Path, old: bytes, new: bytes, detail: str
) -> None:
    write(tmp_path, ["é"], first=0)
    (path,) = (tmp_path / "text").iterdir()
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(StoreError, match=detail) as caught:
        open_cache(tmp_path)
    if "update vtr" not in caught.value.to_do:
        assert caught.value.to_do == "run `vtr store verify --repair` to set it aside, then `vtr cache` again"


def test_a_folder_of_texts_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot make the folder"):
        write(tmp_path, ["a"], first=0)


def test_features_of_another_dimension_are_refused(tmp_path: Path) -> None:
    write(tmp_path, ["a"], first=0)
    rows = TextRows(np.zeros((1, 2, 5)), np.ones((1, 2), bool))
    write_texts(tmp_path, ["b"], rows, streams=STREAMS, tagger_id="t-1", backbone_sha256=SHA256)
    with pytest.raises(StoreError, match="another dimension"):
        open_cache(tmp_path)
