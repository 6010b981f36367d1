"""Blocked, shard-wise scores equal the direct definition, superseded rows never count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.stores import make_store
from vtrcli.searching import frames as video_frames
from vtrcli.searching.frames import SOFTMAX_LOGIT_TEMPERATURE, FramePooling, FrameSpace, pool_frame_scores
from vtrcli.searching.query import VideoScore
from vtrcli.searching.scores import best_videos
from vtrcli.store.catalog import Catalog
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.reader import FeatureStore, unit_rows


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    rng = np.random.default_rng(0)
    videos = {f"v{number:02d}": rng.normal(size=(1 + number % 4, 4)) for number in range(12)}
    make_store(tmp_path, videos)
    make_store(
        tmp_path, {"v03": rng.normal(size=(2, 4)), "v11": rng.normal(size=(5, 4)), "new": np.ones((1, 4))}
    )
    return FeatureStore(tmp_path)


def weighted_mean(scores: np.ndarray, temperature: float) -> float:
    """The definition, in float64."""
    weights = np.exp((scores - scores.max()).astype(np.float64) / temperature)
    return float((weights * scores).sum() / weights.sum())


@pytest.mark.parametrize("pooling", ["max", "mean", "softmax"])
@pytest.mark.parametrize("max_products", [1, 5, 1000])
def test_scores_equal_the_definition_however_they_are_asked_for(
    store: FeatureStore, pooling: VideoScore, max_products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_frames, "MAX_PRODUCTS", max_products)
    texts = unit_rows(np.random.default_rng(1).normal(size=(3, 4)))
    catalog = open_catalog(store.path)
    space = FrameSpace(catalog, pooling=pooling)
    space.logit_scale = SOFTMAX_LOGIT_TEMPERATURE / 0.3
    assert sorted(catalog.ids.all()) == list(store.videos)
    frames = [unit_rows(store.features(video_id)) for video_id in catalog.ids.all()]
    for text in texts:
        if pooling == "max":
            expected = [(rows @ text).max() for rows in frames]
        elif pooling == "softmax":
            expected = [weighted_mean(rows @ text, 0.3) for rows in frames]
        else:
            expected = [unit_rows(rows.sum(axis=0)) @ text for rows in frames]
        videos = range(catalog.num_videos)
        assert space.exact_scores(text, videos) == pytest.approx(expected, abs=1e-6)
        scores = space.score(text)
        assert (np.abs(scores.values - expected) <= scores.error + 1e-6).all()
        assert scores.exact([2, 0]) == pytest.approx([expected[2], expected[0]], abs=1e-6)
    shard = store.shards[-1]
    found = space.score_part(shard, slice(0, len(shard.records)), texts)
    for column, text in enumerate(texts):
        numbers = [catalog.number_of[record.video_id] for record in shard.records]
        assert found[:, column] == pytest.approx(space.exact_scores(text, numbers), abs=1e-6)


@pytest.fixture(scope="module")
def large_catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """60 videos of 1 to 9 frames, of which every fourth was superseded."""
    folder, generator = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    videos = {f"v{number:02d}": generator.normal(size=(1 + number * 7 % 9, 4)) for number in range(60)}
    make_store(folder, videos)
    make_store(folder, {name: generator.normal(size=(3, 4)) for name in list(videos)[::4]})
    return open_catalog(folder)


@given(
    strip_rows=st.integers(1, 400),
    num_queries=st.integers(2, 8),
    pooling=st.sampled_from(["max", "mean", "softmax"]),
    seed=st.integers(0, 999),
)
def test_queries_in_one_pass_have_the_results_of_each_alone(
    strip_rows: int, num_queries: int, pooling: VideoScore, seed: int, large_catalog: Catalog
) -> None:
    """Bit for bit, however the frames are cut into strips."""
    queries = list(unit_rows(np.random.default_rng(seed).normal(size=(num_queries, 4))))
    allowed = np.ones(large_catalog.num_videos, bool)
    alone = [FrameSpace(large_catalog, pooling=pooling).score(query) for query in queries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_frames, "STRIP_ROWS", strip_rows)
        together = FrameSpace(large_catalog, pooling=pooling).score_many(queries)
    for one, shared in zip(alone, together, strict=True):
        for top_k in (1, 5, 60):
            expected, found = (best_videos(scores, top_k=top_k, allowed=allowed) for scores in (one, shared))
            assert found[0] == expected[0] and found[1].tolist() == expected[1].tolist()


def test_strips_hold_each_current_video_whole_and_once(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_frames, "STRIP_ROWS", 4)
    catalog = open_catalog(store.path)
    strips = video_frames.video_strips(catalog)
    assert len(strips) > 3
    numbers = [number for strip in strips for number in range(strip.videos.start, strip.videos.stop)]
    assert numbers == list(range(catalog.num_videos))
    for strip in strips:
        rows = catalog["start"][strip.videos], catalog["stop"][strip.videos]
        assert (strip.first, strip.first + strip.num_rows) == (rows[0][0], rows[1][-1])


@pytest.mark.parametrize(("sizes", "most"), [([1], 64), ([900], 16), ([1] * 300, 53), ([20_000], 1)])
def test_what_a_pass_holds_does_not_grow_with_the_store(
    sizes: list[int], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_frames, "MAX_PRODUCTS", 16_000)
    monkeypatch.setattr(video_frames, "STRIP_ROWS", 100)
    make_store(tmp_path, {f"v{number}": np.ones((size, 4)) for number, size in enumerate(sizes)})
    space = FrameSpace(open_catalog(tmp_path), pooling="max")
    assert space._most_together() == most


def test_a_zero_vector_scores_zero_not_nan(tmp_path: Path) -> None:
    catalog = open_catalog(make_store(tmp_path, {"a": np.zeros((2, 4))}))
    query = np.full(4, 0.5, np.float32)
    for pooling in ("max", "mean", "softmax"):
        space = FrameSpace(catalog, pooling=pooling)  # type: ignore[arg-type]
        assert space.score(query).values.tolist() == space.exact_scores(query, [0]).tolist() == [0.0]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=8),
    st.sampled_from(["max", "softmax"]),
    st.floats(1e-4, 10),
    st.integers(0, 99),
)
def test_pooling_equals_the_loop_over_videos(
    gaps_and_sizes: list[tuple[int, int]], pooling: FramePooling, temperature: float, seed: int
) -> None:
    starts, stops, row = [], [], 0
    for gap, size in gaps_and_sizes:
        starts.append(row + gap)
        row += gap + size
        stops.append(row)
    scores = np.random.default_rng(seed).uniform(-1, 1, row + 2).astype(np.float32)  # two rows of no video
    pooled = pool_frame_scores(scores, np.array(starts), np.array(stops), pooling, temperature)
    videos = [scores[start:stop] for start, stop in zip(starts, stops, strict=True)]
    assert pooled.dtype == np.float32
    if pooling == "max":
        assert pooled.tolist() == [video.max() for video in videos]
    else:
        assert pooled == pytest.approx([weighted_mean(video, temperature) for video in videos], abs=1e-6)
        assert (pooled <= [video.max() for video in videos]).all()


def test_pooling_of_several_texts_is_pooling_of_each() -> None:
    scores = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    starts, stops = np.array([1, 4]), np.array([3, 9])
    pooled = pool_frame_scores(scores, starts, stops, "softmax", 0.1)
    for column in range(3):
        assert (
            pooled[:, column] == pool_frame_scores(scores[:, column], starts, stops, "softmax", 0.1)
        ).all()


@pytest.mark.parametrize(("temperature", "expected"), [(1e-30, 0.5), (1e9, 0.2)])
def test_softmax_lies_between_maximum_and_mean(temperature: float, expected: float) -> None:
    scores = np.array([0.5, -0.2, 0.3], np.float32)
    pooled = pool_frame_scores(scores, np.array([0]), np.array([3]), "softmax", temperature)
    assert pooled[0] == pytest.approx(expected)


def test_no_video_has_no_score() -> None:
    none = np.zeros(0, np.int64)
    assert pool_frame_scores(np.zeros(4, np.float32), none, none, "softmax", 1.0).shape == (0,)
