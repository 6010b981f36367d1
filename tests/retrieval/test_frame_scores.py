"""Blocked, shard-wise scores equal the direct definition, superseded rows never count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import make_store
from vtrcli.retrieval import frame_scores
from vtrcli.retrieval.frame_scores import score_videos, unit_rows
from vtrcli.store.reader import FeatureStore


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    rng = np.random.default_rng(0)
    videos = {f"v{number:02d}": rng.normal(size=(1 + number % 4, 4)) for number in range(12)}
    make_store(tmp_path, videos)
    make_store(
        tmp_path, {"v03": rng.normal(size=(2, 4)), "v11": rng.normal(size=(5, 4)), "new": np.ones((1, 4))}
    )
    return FeatureStore(tmp_path)


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("block_rows", [1, 5, 1000])
def test_scores_equal_the_definition_for_any_block_size(
    store: FeatureStore, pooling: frame_scores.VideoScore, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_scores, "BLOCK_ROWS", block_rows)
    texts = np.random.default_rng(1).normal(size=(3, 4))
    videos, scores = score_videos(store, texts, pooling=pooling)
    assert sorted(at.record.video_id for at in videos) == list(store.videos)
    for column, at in enumerate(videos):
        frames = unit_rows(store.features(at.record.video_id))
        if pooling == "max":
            expected = (unit_rows(texts) @ frames.T).max(axis=1)
        else:
            expected = unit_rows(texts) @ unit_rows(frames.sum(axis=0))
        assert scores[:, column] == pytest.approx(expected, abs=1e-6)


def test_a_zero_vector_scores_zero_not_nan(tmp_path: Path) -> None:
    store = FeatureStore(make_store(tmp_path, {"a": np.zeros((2, 4))}))
    _, scores = score_videos(store, np.ones((1, 4)))
    assert scores.tolist() == [[0.0]]
