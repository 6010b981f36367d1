"""The answers of a search: right, the same by every way, and honest about what it could not do."""

from __future__ import annotations

import csv
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.tiny_clip import write_tiny_clip
from tests.store.stores import make_store
from tests.video_files import make_video
from vtrcli.api import search
from vtrcli.errors import InputError, StoreError, UsageError, WeightsError
from vtrcli.evaluation.evaluate import EvaluationSettings, evaluate_inputs
from vtrcli.evaluation.inputs import from_store
from vtrcli.extraction.extract import extract
from vtrcli.model import families
from vtrcli.model.backbone import Backbone, TextFeatures
from vtrcli.model.families import open_tower
from vtrcli.searching import run as run_module
from vtrcli.searching.encoding import Towers
from vtrcli.searching.filters import Filters
from vtrcli.searching.query import Query, SearchSettings
from vtrcli.searching.run import RunModel, run_id
from vtrcli.searching.searcher import Searcher
from vtrcli.searching.several import StoresSearcher
from vtrcli.store.config import BackboneInfo, read_config
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.video.sampling import Uniform

TEXTS = ("a red circle", "a small green arrow rises", "two shapes meet", "something else entirely")


def ids(searcher: Searcher, query: Query, **options: object) -> list[str]:
    return [hit.video_id for hit in searcher.search(query, SearchSettings(**options)).hits]  # type: ignore[arg-type]


def test_videos_are_ranked_by_their_best_frame(demo: Path) -> None:
    store = FeatureStore(demo / "store")
    searcher = Searcher(demo / "store", device="cpu")
    for text in TEXTS:
        vector = searcher.encode(Query(text=text)).clip
        best = {
            video_id: float((unit_rows(store.features(video_id)) @ vector).max()) for video_id in store.videos
        }
        result = searcher.search(Query(text=text), SearchSettings(top_k=24))
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
    vector = searcher.encode(Query(text="a red circle")).clip
    exact = searcher._frames.exact_scores(vector, range(24))
    scores = searcher._frames.score(vector)
    assert (np.abs(scores.values - exact) <= scores.error).all()
    hits = searcher.search(Query(text="a red circle"), SearchSettings(top_k=24)).hits
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(exact)[::-1], atol=1e-6)


@pytest.mark.parametrize("model", ["zero-shot", "run"])
def test_r_at_1_of_a_search_per_query_is_that_of_eval(demo: Path, model: str) -> None:
    run = demo / "runs" / "demo" if model == "run" else None
    inputs = from_store(demo / "store", run=run, dataset="csv", annotations=demo, split="test", device="cpu")
    evaluated = evaluate_inputs(inputs, EvaluationSettings(num_bootstrap=0)).evaluations[0].t2v
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
    hits = searcher.search(Query(text=inputs.texts[0]), SearchSettings(top_k=24)).hits
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
    before = ids(Searcher(own_demo / "store", device="cpu"), Query(text="a red circle"))
    monkeypatch.setattr(families, "open_tower", None)
    assert ids(Searcher(own_demo / "store", device="cpu"), Query(text=" a red circle ")) == before
    with pytest.raises(TypeError):
        ids(Searcher(own_demo / "store", device="cpu"), Query(text="another query"))


def test_moments_are_ranked_over_all_videos(demo: Path) -> None:
    searcher = Searcher(demo / "store", device="cpu")
    every = searcher.search(Query(text="a red circle"), SearchSettings(top_k=24, per_video=99))
    expected = sorted(
        ((moment.score, hit.video_id) for hit in every.hits for moment in hit.moments), reverse=True
    )
    found = searcher.search(Query(text="a red circle"), SearchSettings(moments=True, top_k=5, per_video=99))
    assert [(hit.score, hit.video_id) for hit in found.hits] == expected[:5]
    assert all(len(hit.moments) == 1 for hit in found.hits)
    one_each = searcher.search(
        Query(text="a red circle"), SearchSettings(moments=True, top_k=24, per_video=1)
    )
    assert len({hit.video_id for hit in one_each.hits}) == len(one_each.hits) == 24


def test_filters_hold(own_demo: Path) -> None:
    searcher = Searcher(own_demo / "store", device="cpu")
    names = searcher.catalog.ids.all()[:2]
    filters = Filters(paths=tuple(f"{name}.mp4" for name in names))
    result = searcher.search(Query(text="a red circle"), SearchSettings(filters=filters))
    assert sorted(hit.video_id for hit in result.hits) == sorted(names) and result.num_videos == 2
    nothing = searcher.search(Query(text="x"), SearchSettings(filters=Filters(min_duration_seconds=1e6)))
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
    plain = searcher.encode(Query(text="a red circle")).clip
    green = searcher.encode(Query(text="a green arrow")).clip
    plus = searcher.encode(Query(text="a red circle", plus=("a green arrow",))).clip
    minus = searcher.encode(Query(text="a red circle", minus=("a green arrow",))).clip
    assert plus @ green > plain @ green > minus @ green
    mostly = searcher.encode(Query(text="a red circle", plus=("a green arrow",), weights=(9, 1))).clip
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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    weights = write_tiny_clip(folder / "tiny.safetensors")
    (folder / "videos").mkdir()
    for number in range(3):
        make_video(folder / "videos" / f"clip{number}.mp4", seconds=2.0, hue=120 * number)
    extract(
        [folder / "videos"],
        store=folder / "store",
        backbone=str(weights),
        sampling=Uniform(num_frames=4),
        device="cpu",
    )
    return folder / "store"


def test_hits_are_ranked_by_their_scores_and_the_moment_lies_in_the_video(store: Path) -> None:
    result = search("a man cooking", store=store, device="cpu")
    assert (result.num_videos, [hit.rank for hit in result.hits]) == (3, [1, 2, 3])
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)
    for hit in result.hits:
        moment = hit.moment
        assert 0 <= moment.start_seconds <= moment.peak_seconds <= moment.end_seconds <= 2.1
        assert moment.score == pytest.approx(hit.score, abs=1e-6)
        assert not hit.is_missing


def test_a_video_that_is_gone_makes_room_and_is_shown_on_request(store: Path) -> None:
    path = store.parent / "videos" / "clip1.mp4"
    body = path.read_bytes()
    path.unlink()
    try:
        result = search("a man cooking", store=store, device="cpu")
        assert {hit.video_id for hit in result.hits} == {"clip0", "clip2"}
        result = search("a man cooking", store=store, missing=True, device="cpu")
        assert {hit.video_id: hit.is_missing for hit in result.hits} == {
            "clip0": False,
            "clip1": True,
            "clip2": False,
        }
    finally:
        path.write_bytes(body)


def test_fewer_hits_than_asked_for_and_long_queries_are_fine(store: Path) -> None:
    assert len(search("x", store=store, top_k=100, device="cpu").hits) == 3
    assert len(search("x", store=store, top_k=2, device="cpu").hits) == 2
    assert len(search("x", store=store, top_k=2, moments=True, device="cpu").hits) == 2
    assert len(search("x", store=store, top_k=1, device="cpu").hits) == 1
    assert search("word " * 500, store=store, device="cpu").notes == (
        "the query is longer than 77 tokens; the backbone reads only its beginning",
    )
    assert len(search("一个人在做饭 🍳", store=store, device="cpu").hits) == 3


@pytest.mark.parametrize("query", ["", "  \n", "x" * 10_001])
def test_an_empty_or_oversized_query_is_one_clear_line(store: Path, query: str) -> None:
    with pytest.raises(InputError) as caught:
        search(query, store=store, device="cpu")
    assert str(caught.value) == (
        f"a query of {len(query.strip()):,} characters; 1 to 10,000 characters (CLIP reads the first 77 tokens); "
        'describe the scene in a sentence, such as "a man cooking"'
    )


def test_features_that_are_not_finite_are_an_error_not_a_missing_answer(store: Path, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(store, tmp_path / "store"))
    (shard,) = (copied / "shards").iterdir()
    body = bytearray(shard.read_bytes())
    body[-2:] = b"\x00\x7e"  # a float16 NaN in the last feature
    shard.write_bytes(body)
    with pytest.raises(StoreError, match="holds features that are not finite; "):
        search("x", store=copied, top_k=1, device="cpu")


def test_an_empty_store_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no video yet; a store with at least one video; "):
        search("x", store=make_store(tmp_path, {}), device="cpu")


def test_weights_that_are_not_those_of_the_store_are_refused(store: Path, tmp_path: Path) -> None:
    import json
    import shutil

    other = write_tiny_clip(tmp_path / "other.safetensors", seed=1)
    copied = Path(shutil.copytree(store, tmp_path / "store"))
    config = json.loads((copied / "store.json").read_text())
    config["backbone"]["name"] = str(other)
    (copied / "store.json").write_text(json.dumps(config))
    with pytest.raises(StoreError, match="was made with other weights than"):
        search("never asked before", store=copied, device="cpu")


def test_weights_that_are_gone_are_told_as_that(store: Path, tmp_path: Path) -> None:
    copied, gone = Path(shutil.copytree(store, tmp_path / "store")), tmp_path / "gone.safetensors"
    config = json.loads((copied / "store.json").read_text())
    config["backbone"] |= {"name": str(gone), "sha256": "ef" * 32}
    (copied / "store.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError) as caught:
        open_tower(read_config(copied).backbone, store=copied, tower="text", device="cpu")
    assert str(caught.value) == (
        f"the weights that made store {copied} are gone from {gone}; a query needs the model that made the features, "
        "unless it was asked before; put them back to that place, or extract into a new --store"
    )


def test_a_store_that_tells_of_other_dimensions_than_its_weights_have_is_refused(
    store: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    search("a dog", store=store, device="cpu")  # so that a catalogue is kept, and no shard is opened
    copied = Path(shutil.copytree(store, tmp_path / "store"))
    config = json.loads((copied / "store.json").read_text())
    config["backbone"]["dim"] //= 2
    (copied / "store.json").write_text(json.dumps(config))
    with pytest.raises(StoreError, match="tells of features with 16 dimensions; those of .* have 32"):
        search("a dog", store=copied, device="cpu")


def test_the_demo_backbone_says_that_it_knows_no_other_videos(
    store: Path, demo: Path, tmp_path: Path
) -> None:
    extract(
        [store.parent / "videos"],
        store=tmp_path / "foreign",
        backbone="demo",
        sampling=Uniform(num_frames=2),
        device="cpu",
    )
    notes = search("a red circle", store=tmp_path / "foreign", device="cpu").notes
    assert notes == (
        "the demo's backbone knows only what `vtr demo` draws: these results mean nothing; extract with "
        "--backbone ViT-B/32 into another --store",
    )
    assert search("a red circle", store=demo / "store", device="cpu").notes == ()


def test_a_run_is_hashed_once_for_all_stores(own_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(own_demo / "store", own_demo / "other")
    hashed: list[Path] = []
    monkeypatch.setattr(run_module, "run_id", lambda run: hashed.append(run) or run_id(run))
    searcher = StoresSearcher([own_demo / "store", own_demo / "other"], run=own_demo / "runs" / "demo")
    assert searcher.search("a text that nobody asked before").run == str(own_demo / "runs" / "demo")
    assert hashed == [own_demo / "runs" / "demo"]


def test_a_run_that_changes_while_it_is_read_is_refused(own_demo: Path) -> None:
    run = own_demo / "runs" / "demo"
    config = read_config(own_demo / "store").backbone
    model = RunModel(run, source=own_demo / "store", backbone=config, device="cpu")
    body = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").unlink()
    (run / "model.safetensors").write_bytes(body)
    with pytest.raises(WeightsError, match=" changed while it was read; a run that stays as it is; "):
        _ = model.heads


@pytest.mark.parametrize("gate", ["video", "text"])  # the texts' side of the second one has weights
def test_a_run_that_was_read_answers_on_while_training_writes_a_better_one(own_demo: Path, gate: str) -> None:
    """As in a server, until the new one is warm."""
    run = own_demo / "runs" / "demo"
    config = (run / "config.json").read_text()
    assert '"gate": "video"' in config
    (run / "config.json").write_text(config.replace('"gate": "video"', f'"gate": "{gate}"'))
    searcher = Searcher(own_demo / "store", run=run, device="cpu")
    searcher.warm()
    for name in ("config.json", "model.safetensors"):
        body = (run / name).read_bytes()
        (run / name).unlink()
        (run / name).write_bytes(body)
    assert ids(searcher, Query(text="a text that nobody asked before"), top_k=1)


class Watched:
    """A tower that tells how many texts it was given at a time, and refuses to work on two threads at once."""

    def __init__(self, tower: Backbone) -> None:
        self.tower, self.sizes, self.alone = tower, [], threading.Lock()  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tower, name)

    def encode_texts(self, texts: list[str], **how: Any) -> TextFeatures:
        assert self.alone.acquire(blocking=False), "two threads at once"
        self.sizes.append(len(texts))
        time.sleep(0.05)  # so long that others come meanwhile
        try:
            return self.tower.encode_texts(texts, **how)
        finally:
            self.alone.release()


class WatchedTowers(Towers):
    """Towers of which texts' are watched."""

    watched: Watched | None = None

    def open(self, backbone: BackboneInfo, tower: Any, **how: Any) -> Any:
        if self.watched is None:
            self.watched = Watched(super().open(backbone, tower, **how))
        return self.watched


@pytest.mark.parametrize("by_run", [False, True])
def test_threads_share_the_tower_and_get_what_each_would_get_alone(own_demo: Path, by_run: bool) -> None:
    """Vectors of a batch differ from those of a text alone by float32's last digits, which no result shows."""
    run = next((own_demo / "runs").iterdir()) if by_run else None
    queries = [Query(text=f"a shape of {number} colours", plus=("a circle",)) for number in range(7)]
    queries[3] = Query(text="a red circle", then=("a green arrow",))
    towers = WatchedTowers()
    shared = Searcher(own_demo / "store", run=run, device="cpu", towers=towers)
    with ThreadPoolExecutor(len(queries)) as pool:
        together = [result.to_json() for result in pool.map(shared.search, queries)]
    assert towers.watched is not None and max(towers.watched.sizes) >= 2
    shutil.rmtree(own_demo / "store" / "index")
    alone = Searcher(own_demo / "store", run=run, device="cpu")
    for query, found in zip(queries, together, strict=True):
        assert found == alone.search(query).to_json()


def test_searchers_of_one_process_load_a_tower_once(demo: Path) -> None:
    towers = Towers()
    first, second = (Searcher(demo / "store", device="cpu", towers=towers).encoder for _ in range(2))
    assert first.text_tower is second.text_tower
