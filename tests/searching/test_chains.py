"""Chains of moments in a store: the same as trying all of them, with every filter and over several stores."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import make_store
from vtrcli.api import search
from vtrcli.errors import InputError, UsageError
from vtrcli.searching.chains import store_chains
from vtrcli.searching.filters import Filters
from vtrcli.searching.query import Query, QueryVectors, SearchSettings
from vtrcli.searching.searcher import Searcher
from vtrcli.searching.several import StoresSearcher
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.reader import FeatureStore, unit_rows

ASKED = Query(text="a", then=("b", "c"))


def vectors_of(*rows: list[float]) -> QueryVectors:
    """Sentences with given vectors; a test needs no text tower."""
    first, *rest = (QueryVectors(vector, vector) for vector in unit_rows(np.array(rows)))
    return replace(first, then=tuple(rest))


VECTORS = vectors_of([1.0, 0.2, 0.1, 0], [0, 1, 0.3, 0], [0.1, 0, 1, 0.5])


def random_store(path: Path, *, seed: int, prefix: str = "v", num_videos: int = 12) -> Path:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 8, num_videos)
    return make_store(
        path,
        {f"{prefix}{n}": rng.normal(size=(size, 4)).astype(np.float16) for n, size in enumerate(lengths)},
    )


def expected(stores: list[Path], within: float | None) -> list[tuple[str, float]]:
    """Ids and scores of all videos with a chain, best first, by trying all chains."""
    vectors = np.stack([VECTORS.clip, *(then.clip for then in VECTORS.then)])
    scores, times = {}, {}
    for path in stores:
        store = FeatureStore(path)
        for video_id in store.videos:
            scores[video_id] = (unit_rows(store.features(video_id)) @ vectors.T).astype(np.float64)
            times[video_id] = store.timestamps(video_id)
    rows = np.concatenate(list(scores.values()))
    found = {}
    for video_id, own in scores.items():
        standard = (own - rows.mean(axis=0)) / rows.std(axis=0)
        sums = [
            standard[list(frames), range(3)].mean()
            for frames in itertools.combinations(range(len(own)), 3)
            if within is None or np.diff(times[video_id][list(frames)]).max() <= within
        ]
        if sums:
            found[video_id] = max(sums)
    return sorted(found.items(), key=lambda pair: -pair[1])


@pytest.mark.parametrize("within", [None, 1.0, 2.0])
def test_the_ranking_is_that_of_trying_all_chains(tmp_path: Path, within: float | None) -> None:
    store = random_store(tmp_path / "s", seed=1)
    query = replace(ASKED, within_seconds=within)
    result = Searcher(store, device="cpu").search(
        query, SearchSettings(top_k=99, missing=True), vectors=VECTORS
    )
    best = expected([store], within)
    assert [hit.video_id for hit in result.hits] == [video_id for video_id, _ in best]
    # Means and deviations are those of float16 products.
    np.testing.assert_allclose([hit.score for hit in result.hits], [score for _, score in best], atol=1e-3)
    for hit in result.hits:
        assert [step.sentence for step in hit.chain] == ["a", "b", "c"]
        assert np.mean([step.standard_score for step in hit.chain]) == pytest.approx(hit.score, abs=1e-5)
        peaks = np.array([step.moment.peak_seconds for step in hit.chain])
        assert (np.diff(peaks) > 0).all() and (within is None or np.diff(peaks).max() <= within)


def test_no_score_lies_further_from_the_exact_one_than_its_error(tmp_path: Path) -> None:
    catalog = open_catalog(random_store(tmp_path / "s", seed=2, num_videos=60))
    [chains] = store_chains([catalog], VECTORS, None)
    scores = chains.score()
    exact = scores.exact(range(catalog.num_videos))
    has_chain = np.isfinite(scores.values)
    assert (np.isfinite(exact) == has_chain).all()
    assert (np.abs(scores.values[has_chain] - exact[has_chain]) <= scores.error).all()


def test_several_stores_have_one_scale(tmp_path: Path) -> None:
    stores = [random_store(tmp_path / name, seed=seed, prefix=name) for seed, name in enumerate("ab")]
    searcher = StoresSearcher(stores, device="cpu")
    searcher._searchers[0].encode = lambda query: VECTORS  # type: ignore[method-assign]
    result = searcher.search(ASKED, SearchSettings(top_k=99, missing=True))
    best = expected(stores, None)
    assert [hit.video_id for hit in result.hits] == [video_id for video_id, _ in best]
    np.testing.assert_allclose([hit.score for hit in result.hits], [score for _, score in best], atol=1e-3)


def test_superseded_rows_neither_count_nor_answer(tmp_path: Path) -> None:
    store = random_store(tmp_path / "s", seed=3)
    other = random_store(tmp_path / "t", seed=4)
    for shard in (other / "shards").iterdir():  # the same ids, later
        (store / "shards" / f"9{shard.name[1:]}").write_bytes(shard.read_bytes())
    result = Searcher(store, device="cpu").search(
        ASKED, SearchSettings(top_k=99, missing=True), vectors=VECTORS
    )
    assert [hit.video_id for hit in result.hits] == [video_id for video_id, _ in expected([other], None)]


def test_filters_choose_the_videos_and_do_not_change_a_score(demo: Path) -> None:
    query, searcher = (
        Query(text="a red circle", then=("a green arrow",)),
        Searcher(demo / "store", device="cpu"),
    )
    everything = searcher.search(query, SearchSettings(top_k=99)).hits
    assert len(everything) == 24
    chosen = everything[1::3]
    filters = Filters(paths=tuple(f"{hit.video_id}.mp4" for hit in chosen))
    found = searcher.search(query, SearchSettings(top_k=99, filters=filters)).hits
    assert [(hit.video_id, hit.score) for hit in found] == [(hit.video_id, hit.score) for hit in chosen]


def test_a_run_chooses_the_videos(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = demo / "runs" / "demo"
    query = Query(text="a red circle", then=("a green arrow",))
    plain = Searcher(demo / "store", device="cpu").search(query, SearchSettings(top_k=99))
    searcher = Searcher(demo / "store", run=run, device="cpu")
    assert searcher.search(query, SearchSettings(top_k=99)).hits == plain.hits  # fewer than its shortlist
    monkeypatch.setattr("vtrcli.searching.searcher.MIN_RUN_SHORTLIST", 2)
    chosen = {
        hit.video_id
        for text in ("a red circle", "a green arrow")
        for hit in searcher.search(Query(text=text), SearchSettings(top_k=2)).hits
    }
    ranked = [hit.video_id for hit in plain.hits if hit.video_id in chosen]
    assert [hit.video_id for hit in searcher.search(query, SearchSettings(top_k=99)).hits] == ranked


def test_a_picture_comes_first_and_its_video_is_left_out(demo: Path) -> None:
    first = search("a red circle", demo / "store", top_k=1, device="cpu").hits[0].video_id
    result = search(Query(like=(first,)), demo / "store", then=["a green arrow"], top_k=99, device="cpu")
    assert result.query == f"like {first}, then a green arrow"
    assert len(result.hits) == 23 and first not in [hit.video_id for hit in result.hits]


@pytest.mark.parametrize(
    ("sizes", "within", "note"),
    [
        ([1, 1], None, "no video has 2 frames, one for each sentence"),
        (
            [4, 1],
            0.5,
            "no video has 2 frames of which each lies at most 0.5 s behind the one before it; give more time "
            "(--within), or extract more frames per second (--fps)",
        ),
    ],
)
def test_why_there_is_no_chain(tmp_path: Path, sizes: list[int], within: float | None, note: str) -> None:
    store = make_store(tmp_path / "s", {f"v{n}": np.ones((size, 4)) for n, size in enumerate(sizes)})
    result = Searcher(store, device="cpu").search(
        Query(text="a", then=("b",), within_seconds=within),
        SearchSettings(missing=True),
        vectors=vectors_of([1.0, 0, 0, 0], [0, 1, 0, 0]),
    )
    assert result.hits == () and result.notes == (f"no result: {note}",)


def test_one_sentence_twice_is_answered_and_told(demo: Path) -> None:
    result = search("a red circle", demo / "store", then=["A red circle "], top_k=2, device="cpu")
    assert len(result.hits) == 2
    assert result.notes[0].startswith("--then repeats the sentence before it: ")


def test_what_cannot_be_asked(demo: Path) -> None:
    store = demo / "store"
    with pytest.raises(UsageError, match=r"^then='b'; a list of sentences; write then=\['b'\]$"):
        search("a", store, then="b", device="cpu")
    with pytest.raises(InputError, match="^a query of 0 characters; "):
        search("a", store, then=[" "], device="cpu")
    with pytest.raises(UsageError, match="^a correction or a relevance for a chain of moments "):
        search("a", store, then=["b"], min_relevance=3.0, device="cpu")
    with pytest.raises(UsageError, match="^--within nan; more than 0 s"):
        Query(text="a", then=("b",), within_seconds=float("nan"))


@pytest.mark.skipif("VTR_TEST_DATA" not in os.environ, reason="VTR_TEST_DATA is not set")
def test_the_order_of_a_real_video_is_found(tmp_path: Path) -> None:
    """A lifter bends down, then lifts: the mean features of both annotated spans, asked for in both orders."""
    stem = Path(os.environ["VTR_TEST_DATA"], "features", "v_GGSY1Qvo990_clip_vitb32_every_frame")
    features, times = np.load(f"{stem}.npy"), np.load(f"{stem}_ms.npy") / 1000
    bends, lifts = (
        unit_rows(features)[(times >= start) & (times <= end)].mean(axis=0).tolist()
        for start, end in ((0, 2.27), (8.08, 18.16))
    )
    store = make_store(
        tmp_path / "s",
        {"forth": features.astype(np.float16), "back": features[::-1].astype(np.float16)},
        dim=512,
    )
    searcher = Searcher(store, device="cpu")
    for sentences, first in (((bends, lifts), "forth"), ((lifts, bends), "back")):
        hits = searcher.search(
            Query(text="a", then=("b",)), SearchSettings(missing=True), vectors=vectors_of(*sentences)
        ).hits
        assert hits[0].video_id == first
        assert hits[0].score > hits[1].score + 0.5
