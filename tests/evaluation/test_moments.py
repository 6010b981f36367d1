"""Moments from a store: the answers of search, saved and read back; scores that two results are compared by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import run, run_json
from tests.moments.films import make_films
from tests.moments.made import ragged, truth_of
from vtrcli.api import evaluate_moments
from vtrcli.datasets.moment_sets import load_moments
from vtrcli.errors import InputError, StoreError, UsageError
from vtrcli.evaluation.moments import (
    MomentEvaluation,
    MomentInputs,
    MomentSettings,
    compare_files,
    read_scores,
    write_scores,
)
from vtrcli.evaluation.moments import evaluate_moments as evaluate_inputs
from vtrcli.evaluation.moments_of_store import clip_means, predict_from_store
from vtrcli.extraction.extract import extract
from vtrcli.moments.files import Predictions, write_predictions
from vtrcli.moments.metrics import Conventions
from vtrcli.searching.query import Query, SearchSettings
from vtrcli.searching.searcher import Searcher
from vtrcli.store.reader import FeatureStore
from vtrcli.text.cache import open_text_cache
from vtrcli.video.sampling import Rate


@pytest.fixture(scope="module")
def films(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films of four drawn clips each, their truth and their store with kept frames."""
    folder = tmp_path_factory.mktemp("films")
    make_films(demo, folder)
    return folder


@pytest.fixture(scope="module")
def answered(films: Path) -> MomentInputs:
    truth, _ = load_moments("csv", films, None)
    return predict_from_store(films / "store", truth, corpus=True, device="cpu")


def test_the_answers_are_those_of_search(films: Path, answered: MomentInputs) -> None:
    """The same frame scores and the same rule: the best window is search's moment, the best moment of all its hit."""
    given, searcher = answered.predictions, Searcher(films / "store")
    assert given.windows is not None
    for place, text in enumerate(given.truth.texts):
        vector = searcher.encode(Query(text=text)).clip
        video = searcher.catalog.number_of[answered.store_ids[place]]
        best = searcher.moments(video, vector)[0]
        expected = [best.start_seconds, best.end_seconds, best.score]
        assert given.windows[place][0].tolist() == pytest.approx(expected, abs=1e-4)
        if place % 8 == 0:
            hits = searcher.search(text, SearchSettings(moments=True, top_k=3, missing=True)).hits
            found = [[hit.moment.start_seconds, hit.moment.end_seconds] for hit in hits]
            assert given.corpus["VCMR"][place][:3, 1:3] == pytest.approx(np.array(found), abs=1e-4)
            names = [
                hit.video_id for hit in searcher.search(text, SearchSettings(top_k=3, missing=True)).hits
            ]
            videos = list(given.videos)
            assert [videos[int(row[0])] for row in given.corpus["VR"][place]] == names


def test_captions_are_read_whole_and_need_no_tagger(films: Path, answered: MomentInputs) -> None:
    """So a store whose captions' features others made is evaluated without the backbone's weights."""
    cache = open_text_cache(FeatureStore(films / "store"), tagger_id="none", max_tokens=None)
    assert cache.missing(answered.predictions.truth.texts) == []
    assert answered.system["tagger"] == "none"


def test_known_spans_are_found_far_better_than_without_looking(answered: MomentInputs) -> None:
    """Drawn clips at known times; a quarter of the film at a random place has an IoU above 0.5 in one case of ten."""
    result = evaluate_inputs(answered)
    assert result.scores is not None
    full = result.scores.groups["full"]
    assert (full.num_queries, full.percent("R1@0.5") > 40, full.percent("mIoU") > 40) == (24, True, True)
    assert result.corpus["VR"].percent("R1") > 60
    assert result.corpus["SVMR"].percent("R1@0.7") == full.percent("R1@0.7")
    assert result.notes == ()


def test_ten_windows_best_first_and_a_saliency_per_two_seconds(answered: MomentInputs) -> None:
    given = answered.predictions
    assert given.windows is not None and given.saliency is not None
    for place in range(len(given.truth)):
        scores, seconds = given.windows[place][:, 2], given.truth.durations[place]
        assert 1 <= len(scores) <= 10
        assert (np.diff(scores) <= 0).all()
        assert len(given.saliency[place]) == int(seconds / 2)


def test_what_was_saved_gives_the_same_numbers(answered: MomentInputs, tmp_path: Path) -> None:
    truth, first = answered.predictions.truth, evaluate_inputs(answered)
    rows = [
        {"qid": query_id, "query": text, "vid": vid, "duration": seconds, "relevant_windows": windows.tolist()}
        for query_id, text, vid, seconds, windows in zip(
            truth.query_ids, truth.texts, truth.video_ids, truth.durations.tolist(),
            (truth.windows[place] for place in range(len(truth))), strict=True,
        )
    ]  # fmt: skip
    (tmp_path / "truth.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for name, parts in (("m.jsonl", ("full", "short")), ("m.json", ("full", "VCMR", "SVMR", "VR"))):
        write_predictions(tmp_path / name, answered.predictions)
        again = evaluate_moments(tmp_path / name, truth=tmp_path / "truth.jsonl")
        for part in parts:
            for metric, values in again.parts[part].values.items():
                assert values.tolist() == first.parts[part].values[metric].tolist(), (name, part, metric)


def test_a_run_ranks_the_videos_of_the_corpus(demo: Path, films: Path, answered: MomentInputs) -> None:
    truth = answered.predictions.truth
    by_run = predict_from_store(
        films / "store", truth, corpus=True, run=demo / "runs" / "demo", device="cpu"
    ).predictions
    assert by_run.windows is not None and answered.predictions.windows is not None
    assert by_run.windows.values.tolist() == answered.predictions.windows.values.tolist()
    searcher = Searcher(films / "store", run=demo / "runs" / "demo")
    names = [
        hit.video_id for hit in searcher.search(truth.texts[0], SearchSettings(top_k=3, missing=True)).hits
    ]
    assert [list(by_run.videos)[int(row[0])] for row in by_run.corpus["VR"][0]] == names


def test_videos_that_the_store_lacks_are_told_or_left_out(films: Path, tmp_path: Path) -> None:
    rows = "video_id,caption,start,end\nfilm0,a circle,0,2\nother,a square,0,2\n"
    (tmp_path / "captions.csv").write_text(rows)
    about = {"dataset": "csv", "annotations": tmp_path, "store": films / "store", "device": "cpu"}
    with pytest.raises(
        InputError, match=r"1 of 2 videos \(1 captions\) are not in the store: other; a number is "
    ):
        evaluate_moments(**about)  # type: ignore[arg-type]
    result = evaluate_moments(**about, allow_missing=True)  # type: ignore[arg-type]
    assert result.inputs.predictions.truth.texts == ("a circle",)
    assert result.notes == (
        "1 video with 1 queries not in the store, left out (other): the numbers cannot be compared with published ones",
    )


def test_another_duration_in_the_store_is_told(films: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("video_id,caption,start,end,duration\nfilm0,a circle,0,2,150\n")
    result = evaluate_moments(dataset="csv", annotations=tmp_path, store=films / "store", device="cpu")
    assert result.notes == (
        "1 video of another duration in the store than in the truth (by more than 1 s): film0; is it the same cut?",
    )


def test_saliency_is_the_mean_of_a_clips_frames_and_lies_between_where_it_has_none() -> None:
    times, scores = np.array([0.0, 1.0, 2.5, 7.0]), np.array([0.1, 0.3, 0.6, 0.2])
    assert clip_means(scores, times, 9.9).tolist() == pytest.approx([0.2, 0.6, 0.377778, 0.2])
    assert clip_means(scores[:1], times[:1], 0.5).tolist() == [0.1]


def test_arguments_that_do_not_fit_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no truth to compare the moments with; --truth FILE, or a data set"):
        evaluate_moments(tmp_path / "p.jsonl")
    (tmp_path / "t.jsonl").write_text('{"qid": 1, "query": "a", "vid": "v", "relevant_windows": [[0, 1]]}\n')
    with pytest.raises(
        UsageError, match="no moments to evaluate; a file of predictions, or a store that answers; "
    ):
        evaluate_moments(truth=tmp_path / "t.jsonl")
    with pytest.raises(StoreError):
        evaluate_moments(truth=tmp_path / "t.jsonl", store=tmp_path / "none")


def made(*windows: list[float], conventions: Conventions | None = None) -> MomentEvaluation:
    truth = truth_of(*([[0, 10]] for _ in windows), video_ids=[f"v{n // 2}" for n in range(len(windows))])
    inputs = MomentInputs(Predictions(truth, ragged(*([window] for window in windows))), "made")
    return evaluate_inputs(inputs, MomentSettings(conventions=conventions or Conventions(), num_bootstrap=0))


def test_two_results_are_compared_query_by_query(tmp_path: Path) -> None:
    good, poor = [0, 9, 1.0], [0, 4, 1.0]
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    write_scores(made(*[poor] * 40), a)
    write_scores(made(*[good] * 40), b)
    tests = compare_files(read_scores(a), read_scores(b))
    assert tuple(tests) == ("full", "short")
    found = tests["full"]["R1@0.5"]
    assert (found.mean_a, found.mean_b, found.num_clusters, found.p_value < 0.001) == (0, 100, 20, True)


def test_results_of_other_queries_or_conventions_are_not_compared(tmp_path: Path) -> None:
    window, paths = [0, 9, 1.0], [tmp_path / f"{name}.json" for name in "abc"]
    write_scores(made(*[window] * 4), paths[0])
    write_scores(made(*[window] * 5), paths[1])
    write_scores(made(*[window] * 4, conventions=Conventions(first="scored")), paths[2])
    a, b, c = map(read_scores, paths)
    with pytest.raises(
        InputError, match=r"hold other queries: 1 ids are in one of them only; a paired test needs"
    ):
        compare_files(a, b)
    with pytest.raises(
        InputError, match="were scored by other conventions: first; the same conventions on both sides"
    ):
        compare_files(a, c)
    with pytest.raises(InputError, match="hold other queries: texts, videos or true windows differ; "):
        compare_files(a, replace(a, queries="other"))
    with pytest.raises(InputError, match="has full, short, .* has nothing; parts that both have; "):
        compare_files(a, replace(a, parts={}))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "vtr-moment-scores", "version": 2}'])
def test_what_is_no_file_of_scores(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(
        InputError, match="cannot be compared: .*; a file of scores of moments; write one with `vtr "
    ):
        read_scores(tmp_path / "a.json")


@pytest.mark.slow
def test_the_real_video_of_activitynet(test_data: Path, tmp_path: Path) -> None:
    """Three sentences with spans, by a backbone that knows only drawings: it runs; the numbers mean nothing."""
    video = test_data / "videos" / "natural" / "anet_v_GGSY1Qvo990.mp4"
    (tmp_path / "v_GGSY1Qvo990.mp4").write_bytes(video.read_bytes())
    extract(
        [tmp_path / "v_GGSY1Qvo990.mp4"], store=tmp_path / "store", backbone="demo", sampling=Rate(fps=5.0)
    )
    for files in (
        test_data / "annotations" / "activitynet",
        test_data / "moments" / "activitynet_val.jsonl",
    ):
        result = evaluate_moments(
            dataset="activitynet",
            annotations=files,
            store=tmp_path / "store",
            allow_missing=True,
            device="cpu",
        )
        truth = result.inputs.predictions.truth
        assert [truth.windows[place].tolist() for place in range(3)] == [
            [[0, 2.27]],
            [[2.91, 6.54]],
            [[8.08, 18.16]],
        ]
        assert len(truth) == 3
        assert result.inputs.predictions.saliency is not None
        assert result.inputs.predictions.saliency.counts.tolist() == [9, 9, 9]


@pytest.mark.slow
def test_real_features_of_clip_with_the_mean_of_each_span_as_query(test_data: Path, tmp_path: Path) -> None:
    """ViT-B/32 at 5 fps, imported: no video, no weights. Easy queries, real noise and real borders."""
    frames = np.load(test_data / "features" / "v_GGSY1Qvo990_clip_vitb32_5fps.npy")
    name, all_videos = "v_GGSY1Qvo990", test_data / "annotations" / "activitynet" / "val_1.json"
    video = json.loads(all_videos.read_text())[name]
    (tmp_path / "val_1.json").write_text(json.dumps({name: video}))
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / f"{name}.npy", frames)
    unit, times = frames / np.linalg.norm(frames, axis=1, keepdims=True), np.arange(len(frames)) / 5
    means = [unit[(times >= start) & (times <= end)].mean(axis=0) for start, end in video["timestamps"]]
    np.save(tmp_path / "queries.npy", np.array(means, np.float32))
    (tmp_path / "queries.csv").write_text("\n".join(["caption_id", *(f"{name}#{n}" for n in range(3))]))
    store, about = str(tmp_path / "store"), ("--dataset", "activitynet", "--annotations", str(tmp_path))
    for arguments in (
        (str(tmp_path / "features"), "--fps", "5", "--backbone", "ViT-B/32"),
        (
            str(tmp_path / "queries.npy"),
            "--table",
            str(tmp_path / "queries.csv"),
            "--captions",
            "--moments",
            *about,
        ),
    ):
        assert run("store", "import", *arguments, "--store", store).exit_code == 0
    full = run_json("eval", "--moments", "--store", store, *about)["results"][0]
    assert (full["num_queries"], full["R1@0.5"], full["mIoU"] > 55) == (3, 100, True)
