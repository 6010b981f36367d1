"""Captions are encoded once per stream and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vtrcli.errors import InputError
from vtrcli.model.families import load_backbone
from vtrcli.store.reader import FeatureStore
from vtrcli.store.texts import TextRows, write_texts
from vtrcli.text.cache import cache_captions, cache_texts, open_text_cache
from vtrcli.text.streams import STREAMS

CAPTIONS = ["a man rides a horse", "a red car", "", "a man rides a horse", "日本 🎥", "word " * 200]


def test_each_stream_holds_the_feature_of_its_words(tiny_store: FeatureStore, weights: str) -> None:
    result = cache_texts(tiny_store, CAPTIONS, device="cpu")
    assert (result.num_texts, result.num_encoded, result.num_cut) == (5, 5, 1)
    assert result.num_without["action"] >= 2
    rows = open_text_cache(tiny_store, tagger_id=result.tagger_id).rows(CAPTIONS[:2])
    backbone = load_backbone(weights, device="cpu", towers="text")
    expected = backbone.encode_texts(
        ["a man rides a horse", "man horse", "rides", "a red car", "car"]
    ).features
    got = rows.features.astype(np.float32)
    for (row, stream), text in {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 0): 3, (1, 1): 4, (1, 2): 3}.items():
        np.testing.assert_allclose(got[row, stream], expected[text], rtol=2e-3, atol=2e-3)
    assert rows.mask.tolist() == [[True, True, True], [True, True, False]]


def test_a_second_run_encodes_only_what_is_new(tiny_store: FeatureStore) -> None:
    cache_texts(tiny_store, CAPTIONS[:2], device="cpu")
    assert cache_texts(tiny_store, CAPTIONS[:2], device="cpu").num_encoded == 0
    assert cache_texts(tiny_store, [*CAPTIONS[:2], "a new one"], device="cpu").num_encoded == 1


def test_texts_of_another_limit_are_other_texts(tiny_store: FeatureStore, weights: str) -> None:
    text = "a man rides a horse along a wide beach"
    whole = cache_texts(tiny_store, [text], device="cpu")
    limited = cache_texts(tiny_store, [text], device="cpu", max_tokens=6)
    assert (whole.num_encoded, whole.num_cut, limited.num_encoded, limited.num_cut) == (1, 0, 1, 1)
    tagger_id = whole.tagger_id
    found = [
        open_text_cache(tiny_store, tagger_id=tagger_id, max_tokens=limit)
        .rows([text])
        .features.astype(np.float32)
        for limit in (None, 6)
    ]
    backbone = load_backbone(weights, device="cpu", towers="text")
    # What is read of the text: its start, and the nouns and verbs of that start.
    expected = backbone.encode_texts(["a man rides a", "man", "rides"]).features
    np.testing.assert_allclose(found[1][0], expected, rtol=2e-3, atol=2e-3)
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert open_text_cache(tiny_store, tagger_id=tagger_id, max_tokens=7).missing([text]) == [text]


def test_the_captions_of_a_benchmark_are_cached_as_its_protocol_reads_them(
    tiny_store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "test_list.txt").write_text("a\n")
    (tmp_path / "captions_msvd.json").write_text(f'{{"a": ["a dog {"runs " * 40}"]}}')
    arguments = {"dataset": "msvd", "annotations": tmp_path, "splits": ["test"], "device": "cpu"}
    result = cache_captions(tiny_store.path, **arguments)  # type: ignore[arg-type]
    assert (result.max_tokens, result.num_encoded, result.num_cut) == (32, 1, 1)
    longer = cache_captions(tiny_store.path, max_tokens=60, **arguments)  # type: ignore[arg-type]
    assert (longer.max_tokens, longer.num_encoded, longer.num_cut) == (60, 1, 0)


def test_splits_that_cannot_be_read_are_named_unless_asked_for(
    tiny_store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "val_list.txt").write_text("a\n")
    (tmp_path / "captions_msvd.json").write_text('{"a": ["a dog"]}')
    result = cache_captions(tiny_store.path, dataset="msvd", annotations=tmp_path, device="cpu")
    assert (result.num_encoded, sorted(result.problems)) == (1, ["test", "train"])
    with pytest.raises(InputError):
        cache_captions(tiny_store.path, dataset="msvd", annotations=tmp_path, splits=["train"], device="cpu")


def test_captions_that_were_cut_are_counted_though_they_were_cached_before(
    tiny_store: FeatureStore, weights: str
) -> None:
    cache_texts(tiny_store, CAPTIONS, device="cpu")
    again = cache_texts(tiny_store, CAPTIONS, device="cpu")
    cache = open_text_cache(tiny_store, tagger_id=again.tagger_id)
    assert (cache.num_cut(CAPTIONS), cache.num_cut([*CAPTIONS, "word " * 200]), cache.num_cut([])) == (
        1,
        2,
        0,
    )
    assert again.unread.to_json() == {
        "num_cut": None,
        "num_unread_script": 1,
        "unread_scripts": ["Chinese"],
    }
    # A file of an older vtr does not tell.
    rows = load_backbone(weights, device="cpu", towers="text").encode_texts(["old"]).features
    old = TextRows(np.repeat(rows[:, None].astype(np.float16), 3, axis=1), np.ones((1, 3), bool))
    sha256 = tiny_store.config.backbone.sha256
    write_texts(
        tiny_store.path, ["old"], old, streams=STREAMS, tagger_id=again.tagger_id, backbone_sha256=sha256
    )
    cache = open_text_cache(tiny_store, tagger_id=again.tagger_id)
    assert cache.num_cut(["old"]) is None and cache.num_cut(CAPTIONS) == 1
