"""The answers of a search: right, the same by every way, and honest about what it could not do."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from vtrcli.errors import InputError, StoreError, UsageError, WeightsError
from vtrcli.evaluation.inputs import from_store
from vtrcli.evaluation.run import EvaluationOptions, evaluate_inputs
from vtrcli.searching.filters import Filters
from vtrcli.searching.options import SearchOptions
from vtrcli.searching.query import Query
from vtrcli.searching.searcher import Searcher
from vtrcli.store.reader import FeatureStore, unit_rows

TEXTS = ("a red circle", "a small green arrow rises", "two shapes meet", "something else entirely")


def ids(searcher: Searcher, query: Query, **options: object) -> list[str]:
    return [hit.video_id for hit in searcher.search(query, SearchOptions(**options)).hits]  # type: ignore[arg-type]


def test_videos_are_ranked_by_their_best_frame(demo: Path) -> None:
    store = FeatureStore(demo / "store")
    searcher = Searcher(demo / "store", device="cpu")
    for text in TEXTS:
        vector = searcher._clip.encode(Query(text=text))
        best = {
            video_id: float((unit_rows(store.features(video_id)) @ vector).max()) for video_id in store.videos
        }
        result = searcher.search(Query(text=text), SearchOptions(top_k=24))
        assert result.num_videos == len(result.hits) == 24
        scores = [hit.score for hit in result.hits]
        np.testing.assert_allclose(scores, sorted(best.values(), reverse=True), atol=1e-6)
        for hit in result.hits:
            assert hit.score == pytest.approx(best[hit.video_id], abs=1e-6)
            assert hit.moment.score == pytest.approx(hit.score, abs=1e-6)
            assert hit.moment.start_seconds <= hit.moment.peak_seconds <= hit.moment.end_seconds
            assert not hit.is_missing and Path(hit.path).is_file()


@pytest.mark.parametrize("pooling", ["max", "mean", "softmax"])
def test_every_pooling_ranks_by_its_exact_scores(demo: Path, pooling: str) -> None:
    searcher = Searcher(demo / "store", pooling=pooling, device="cpu")  # type: ignore[arg-type]
    vector = searcher._clip.encode(Query(text="a red circle"))
    exact = searcher._frames.exact_scores(vector, range(24))
    scores = searcher._frames.score(vector)
    assert (np.abs(scores.values - exact) <= scores.error).all()
    hits = searcher.search(Query(text="a red circle"), SearchOptions(top_k=24)).hits
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(exact)[::-1], atol=1e-6)


@pytest.mark.parametrize("model", ["zero-shot", "run"])
def test_r_at_1_of_a_search_per_query_is_that_of_eval(demo: Path, model: str) -> None:
    run = demo / "runs" / "demo" if model == "run" else None
    inputs = from_store(demo / "store", run=run, dataset="csv", annotations=demo, split="test", device="cpu")
    evaluated = evaluate_inputs(inputs, EvaluationOptions(num_bootstrap=0)).evaluations[0].t2v
    searcher = Searcher(demo / "store", run=run, pooling="mean", device="cpu")
    gallery = Filters(paths=tuple(f"{video_id}.mp4" for video_id in inputs.video_ids))
    with open(demo / "captions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    first = [ids(searcher, Query(text=row["caption"]), top_k=1, filters=gallery)[0] for row in rows]
    right = sum(found == row["video_id"] for found, row in zip(first, rows, strict=True))
    assert 100 * right / len(rows) == pytest.approx(evaluated.recall[1])


def test_a_run_gives_the_scores_of_eval(demo: Path) -> None:
    run = demo / "runs" / "demo"
    inputs = from_store(demo / "store", run=run, dataset="csv", annotations=demo, split="test", device="cpu")
    expected = np.asarray(inputs.source.block(slice(0, 1), slice(0, len(inputs.video_ids))))[0]
    searcher = Searcher(demo / "store", run=run, device="cpu")
    hits = searcher.search(Query(text=inputs.texts[0]), SearchOptions(top_k=24)).hits
    found = {hit.video_id: hit.score for hit in hits}
    np.testing.assert_allclose([found[name] for name in inputs.video_ids], expected, atol=2e-4)


def test_vectors_of_a_run_are_computed_once_and_follow_the_run(own_demo: Path) -> None:
    run, store = own_demo / "runs" / "demo", own_demo / "store"
    told: list[tuple[int, int]] = []

    def search() -> list[str]:
        searcher = Searcher(
            store, run=run, device="cpu", on_progress=lambda done, total: told.append((done, total))
        )
        return ids(searcher, Query(text="a red circle"))

    num_shards = len(list((store / "shards").iterdir()))
    once = [(done, num_shards) for done in range(num_shards + 1)]
    assert search() == search() and told == once
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "num_val_videos": 99}))
    search()
    assert told == once * 2  # it may be another model now


def test_a_query_that_was_asked_before_needs_no_weights(
    own_demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vtrcli.searching.encoding as encoding

    before = ids(Searcher(own_demo / "store", device="cpu"), Query(text="a red circle"))
    monkeypatch.setattr(encoding, "open_tower", None)
    assert ids(Searcher(own_demo / "store", device="cpu"), Query(text=" a red circle ")) == before
    with pytest.raises(TypeError):
        ids(Searcher(own_demo / "store", device="cpu"), Query(text="another query"))


def test_moments_are_ranked_over_all_videos(demo: Path) -> None:
    searcher = Searcher(demo / "store", device="cpu")
    every = searcher.search(Query(text="a red circle"), SearchOptions(top_k=24, per_video=99))
    expected = sorted(
        ((moment.score, hit.video_id) for hit in every.hits for moment in hit.moments), reverse=True
    )
    found = searcher.search(Query(text="a red circle"), SearchOptions(moments=True, top_k=5, per_video=99))
    assert [(hit.score, hit.video_id) for hit in found.hits] == expected[:5]
    assert all(len(hit.moments) == 1 for hit in found.hits)
    one_each = searcher.search(Query(text="a red circle"), SearchOptions(moments=True, top_k=24, per_video=1))
    assert len({hit.video_id for hit in one_each.hits}) == len(one_each.hits) == 24


def test_filters_hold(own_demo: Path) -> None:
    searcher = Searcher(own_demo / "store", device="cpu")
    names = searcher.catalog.ids.all()[:2]
    filters = Filters(paths=tuple(f"{name}.mp4" for name in names))
    result = searcher.search(Query(text="a red circle"), SearchOptions(filters=filters))
    assert sorted(hit.video_id for hit in result.hits) == sorted(names) and result.num_videos == 2
    nothing = searcher.search(Query(text="x"), SearchOptions(filters=Filters(min_duration_seconds=1e6)))
    assert (nothing.num_videos, nothing.hits) == (0, ())
    assert nothing.notes == ("no result: --min-duration 277:46:40 left 0 of 24 videos",)


def test_a_video_finds_its_like_and_not_itself(demo: Path) -> None:
    searcher = Searcher(demo / "store", device="cpu")
    name = searcher.catalog.ids.all()[0]
    path = searcher.catalog.paths[0]
    found = ids(searcher, Query(like=(name,)), top_k=24)
    assert name not in found and len(found) == 23
    assert ids(searcher, Query(like=(path,)), top_k=24) == found
    assert ids(searcher, Query(like=(f"{name}.mp4",)), top_k=24) == found
    at = searcher.search(Query(like=(f"{name}@0:01",)))
    assert at.query == f"like {name}@0:01" and at.hits[0].score > 0.5


def test_a_picture_finds_the_video_that_it_is_from(demo: Path, tmp_path: Path) -> None:
    from vtrcli.store.frames import frames_of

    store = FeatureStore(demo / "store")
    searcher = Searcher(demo / "store", device="cpu")
    name = searcher.catalog.ids.all()[3]
    location = store.videos[name]
    images = frames_of(store.path, store.shards[location.shard], location)
    assert images is not None
    (tmp_path / "frame.jpg").write_bytes(images[5])
    hit = searcher.search(Query(images=(tmp_path / "frame.jpg",))).hits[0]
    assert hit.score > 0.97
    assert hit.moment.peak_seconds == pytest.approx(float(store.timestamps(hit.video_id)[5]), abs=0.5)
    with_run = Searcher(demo / "store", run=demo / "runs" / "demo", device="cpu")
    assert len(with_run.search(Query(images=(tmp_path / "frame.jpg",), like=(name,))).hits) == 10


def test_more_and_fewer_terms_move_the_answer(demo: Path) -> None:
    searcher = Searcher(demo / "store", device="cpu")
    plain = searcher._clip.encode(Query(text="a red circle"))
    green = searcher._clip.encode(Query(text="a green arrow"))
    plus = searcher._clip.encode(Query(text="a red circle", plus=("a green arrow",)))
    minus = searcher._clip.encode(Query(text="a red circle", minus=("a green arrow",)))
    assert plus @ green > plain @ green > minus @ green
    mostly = searcher._clip.encode(Query(text="a red circle", plus=("a green arrow",), weights=(9, 1)))
    assert mostly @ plain > plus @ plain
    assert np.linalg.norm(mostly) == pytest.approx(1, abs=1e-6)
    with pytest.raises(UsageError, match="^the terms of the query cancel each other; "):
        searcher.search(Query(text="a red circle", minus=("a red circle",), weights=(1, 1)))


def test_a_place_that_is_none_or_several_is_one_clear_line(demo: Path) -> None:
    searcher = Searcher(demo / "store", device="cpu")
    name = searcher.catalog.ids.all()[0]
    with pytest.raises(InputError) as caught:
        searcher.search(Query(like=(f"{name}x",)))
    assert str(caught.value) == (
        f"no video '{name}x' in store {demo / 'store'}; --like takes the id, the path or the end of the path of one "
        f"video; did you mean '{name}'?"
    )


def test_a_run_that_is_not_there_or_does_not_fit_is_refused(own_demo: Path) -> None:
    with pytest.raises(WeightsError, match="^no trained run at "):
        Searcher(own_demo / "store", run=own_demo / "none", device="cpu")
    run = own_demo / "runs" / "demo"
    config = json.loads((run / "config.json").read_text())
    config["backbone"]["sha256"] = "0" * 64
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(StoreError, match="was trained on features of demo "):
        Searcher(own_demo / "store", run=run, device="cpu")


def test_a_store_that_is_being_written_answers_from_what_is_there(own_demo: Path) -> None:
    (own_demo / "store" / "shards" / ".tmp-1234.safetensors").write_bytes(b"half a shard")
    assert len(ids(Searcher(own_demo / "store", device="cpu"), Query(text="a red circle"))) == 10


@pytest.mark.parametrize("text", ["一个人在做饭 🍳", "\U0001f600" * 200, "a\x00b \udce9", "x" * 10_000])
def test_any_language_and_any_length_gets_an_answer(demo: Path, text: str) -> None:
    assert len(ids(Searcher(demo / "store", device="cpu"), Query(text=text))) == 10
