"""Metrics of moments: the published numbers to the digit, the same as loops, and each convention where it matters."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.moments.made import ragged, truth_of
from vtrcli.datasets.moments import MomentTruth, Ragged, read_moment_truth
from vtrcli.errors import InputError
from vtrcli.moments.files import read_predictions
from vtrcli.moments.metrics import (
    HIGHLIGHT_COLUMNS,
    MOMENT_COLUMNS,
    Conventions,
    CorpusTruth,
    MomentScores,
    compare_scores,
    reference_metrics,
    score_corpus,
    score_moments,
    window_ious,
)

PUBLISHED = ("univtg", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sample", "qddetr_clip")))


@pytest.fixture(scope="module")
def truth(test_data: Path) -> MomentTruth:
    return read_moment_truth(test_data / "moments" / "qvhighlights_val.jsonl")


@pytest.fixture(scope="module")
def loops() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "moment_metrics.py"
    spec = importlib.util.spec_from_file_location("moment_metrics", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_of_the_published_evaluator_to_the_digit(
    test_data: Path, truth: MomentTruth, name: str
) -> None:
    path = test_data / "moments" / f"qvhighlights_val_pred_{name}.jsonl"
    given = read_predictions(path, truth)
    assert given.windows is not None
    found = reference_metrics(score_moments(truth, given.windows, given.saliency))
    assert found == json.loads(path.with_suffix(".metrics.json").read_text())


@pytest.mark.parametrize(
    ("part", "numbers"), [((0.0, 1.0), (9.03, 6.06, 5.58)), ((0.25, 0.75), (12.32, 1.42, 2.27))]
)
def test_what_one_gets_without_looking(
    truth: MomentTruth, part: tuple[float, float], numbers: tuple[float, ...]
) -> None:
    rows = np.column_stack([*(share * truth.durations for share in part), np.ones(len(truth))])
    full = score_moments(truth, Ragged(rows, np.arange(len(truth) + 1))).groups["full"]
    assert tuple(round(full.percent(name), 2) for name in ("R1@0.5", "R1@0.7", "mAP")) == numbers


def spans(most: int, *, scored: bool) -> st.SearchStrategy[list[list[float]]]:
    """Windows on a coarse grid, so that lengths, IoUs and scores are often equal."""
    window = st.tuples(st.integers(0, 20), st.integers(1, 20), st.integers(0, 3)).map(
        lambda parts: [2.0 * parts[0], 2.0 * (parts[0] + parts[1]), *([float(parts[2])] if scored else [])]
    )
    return st.lists(window, min_size=0 if scored else 1, max_size=most)


@settings(max_examples=12)
@given(
    st.lists(st.tuples(spans(6, scored=False), spans(12, scored=True)), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_all_at_once_gives_what_loops_give(
    loops: ModuleType, queries: list[tuple[list[list[float]], list[list[float]]]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    saliency = rng.integers(0, 5, (len(queries), 6, 2)).astype(float).tolist()
    made = truth_of(*(true for true, _ in queries), saliency=saliency)
    windows = ragged(*(predicted for _, predicted in queries))
    guessed = Ragged.of([rng.integers(0, 3, rng.integers(4, 9)).astype(float) for _ in queries])
    fast = reference_metrics(score_moments(made, windows, guessed))
    assert loops.largest_difference(fast, loops.in_loops(made, windows, guessed)) < 0.00501  # two decimals


def percents(scores: MomentScores, *names: str) -> tuple[float, ...]:
    return tuple(round(scores.groups["full"].percent(name), 2) for name in names)


def test_recall_takes_the_first_listed_window_or_the_best_scored() -> None:
    truth, windows = truth_of([[10, 20]]), ragged([[50, 60, 0.1], [10, 20, 0.9]])
    assert percents(score_moments(truth, windows), "R1@0.5", "R5@0.5", "mIoU", "mAP") == (0, 100, 0, 100)
    scored = Conventions(first="scored")
    assert percents(score_moments(truth, windows, conventions=scored), "R1@0.5", "mIoU") == (100, 100)


def test_only_the_first_ten_windows_count_unless_all_shall() -> None:
    truth = truth_of([[10, 20]])
    windows = ragged([*([50 + n, 60 + n, 1 - n / 100] for n in range(49)), [10, 20, 2.0]])
    assert percents(score_moments(truth, windows), "mAP") == (0,)
    assert percents(score_moments(truth, windows, conventions=Conventions(max_windows=None)), "mAP") == (100,)


def test_more_windows_than_there_is_memory_for_are_refused_where_all_shall_count() -> None:
    truth = truth_of(*([[0, 10]] for _ in range(600)))
    offsets = np.concatenate([[0], np.full(600, 90_000)])
    windows = Ragged(np.broadcast_to(np.array([0.0, 9.0, 1.0]), (90_000, 3)), offsets)
    with pytest.raises(
        InputError, match="600 queries, one of them with 90,000 windows; at most 50,000,000 windows"
    ):
        score_moments(truth, windows, conventions=Conventions(max_windows=None))
    assert percents(score_moments(truth, windows), "R1@0.5") == (0.17,)


def test_equal_scores_stay_as_listed_or_are_taken_well_or_badly() -> None:
    truth, windows = truth_of([[10, 20]]), ragged([[0, 5, 1.0], [10, 20, 1.0], [30, 40, 1.0]])
    found = {
        ties: percents(score_moments(truth, windows, conventions=Conventions(ties=ties)), "mAP@0.5")[0]
        for ties in ("listed", "optimistic", "pessimistic")
    }
    assert found == {"listed": 50.0, "optimistic": 100.0, "pessimistic": 33.33}


def test_the_curve_is_made_monotone_or_left_as_it_is() -> None:
    truth = truth_of([[10, 20], [30, 40]])
    windows = ragged([[50, 60, 0.9], [10, 20, 0.8], [30, 40, 0.7]])
    assert percents(score_moments(truth, windows), "mAP@0.5") == (66.67,)  # 2 of 3 from the first hit on
    plain = Conventions(ap="plain")
    assert percents(score_moments(truth, windows, conventions=plain), "mAP@0.5") == (
        58.33,
    )  # (1/2 + 2/3) / 2


def test_a_true_window_is_found_once() -> None:
    truth, windows = truth_of([[10, 20]]), ragged([[10, 20, 0.9], [10, 20, 0.8]])
    assert percents(score_moments(truth, windows), "mAP") == (100,)
    two = truth_of([[10, 20], [30, 40]])
    assert percents(score_moments(two, windows), "mAP") == (50,)


def test_lengths_are_those_of_the_true_windows_and_a_query_may_be_in_several() -> None:
    truth = truth_of([[0, 10], [20, 40]], [[0, 100]])
    groups = score_moments(truth, ragged([[20, 40, 1.0]], [[0, 100, 1.0]])).groups
    assert {name: group.num_queries for name, group in groups.items()} == {
        "full": 2,
        "short": 1,
        "middle": 1,
        "long": 1,
    }
    assert [groups[name].percent("R1@0.7") for name in ("short", "middle", "long")] == [0, 100, 100]


def test_windows_longer_than_150_seconds_are_long() -> None:
    truth = truth_of([[0, 4000]], duration=7200)
    assert score_moments(truth, ragged([[0, 4000, 1.0]])).groups["long"].percent("mAP") == 100


def test_an_empty_window_and_no_window_find_nothing() -> None:
    scores = score_moments(truth_of([[0, 10]], [[0, 10]]), ragged([[5, 5, 1.0]], []))
    assert percents(scores, "R1@0.3", "mIoU", "mAP") == (0, 0, 0)
    assert percents(score_moments(truth_of([[0, 10]]), ragged([])), "R5@0.3", "mAP") == (0, 0)


def test_iou_of_windows_that_overlap_touch_lie_apart_or_are_empty() -> None:
    true = np.array([[[10.0, 20.0]]])
    predicted = np.array([[[15.0, 25.0], [20.0, 30.0], [40.0, 50.0], [12.0, 12.0], [10.0, 20.0]]])
    assert window_ious(predicted, true)[0, :, 0].tolist() == pytest.approx([1 / 3, 0, 0, 0, 1])


def test_hit_at_one_and_precision_of_clips() -> None:
    clips = [[1.0, 4.0], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]
    truth = truth_of([[0, 6]], duration=8, saliency=[clips])
    highlights = score_moments(
        truth, ragged([[0, 6, 1.0]]), ragged([0.1, 0.9, 0.5, 0.7], width=None)
    ).highlights
    assert highlights is not None and tuple(highlights.values) == HIGHLIGHT_COLUMNS
    assert [highlights.percent(f"{level} HIT@1") for level in ("Fair", "Good", "VeryGood")] == [100, 100, 0]
    # Good: the first annotator's only good clip comes first, the second's last of four.
    assert highlights.percent("Good mAP") == pytest.approx(100 * (1 + 1 / 4) / 2)


def test_equal_saliency_comes_in_together() -> None:
    truth = truth_of([[0, 4]], duration=8, saliency=[[[4.0], [4.0], [0.0], [0.0]]])
    equal = ragged([0.5, 0.5, 0.5, 0.5], width=None)

    def both(ties: str, ap: str = "interpolated") -> tuple[float, float]:
        how = Conventions(ties=ties, ap=ap)  # type: ignore[arg-type]
        found = score_moments(truth, ragged([[0, 4, 1.0]]), equal, conventions=how).highlights
        assert found is not None
        return round(found.percent("Good mAP"), 2), found.percent("Good HIT@1")

    assert both("listed") == both("listed", "plain") == (50.0, 100.0)
    assert both("optimistic") == (100.0, 100.0)
    assert both("pessimistic") == (50.0, 0.0)
    assert both("pessimistic", "plain") == (41.67, 0.0)  # (1/3 + 2/4) / 2


def test_saliency_of_more_clips_than_the_video_has_is_cut_and_fewer_count_as_0() -> None:
    truth = truth_of([[0, 4]], duration=4, saliency=[[[4.0], [0.0]]])
    for guessed, hit, precision in (([0.9, 0.1, 5.0], 0.0, 100.0), ([-1.0], 100.0, 50.0)):
        found = score_moments(truth, ragged([[0, 4, 1.0]]), ragged(guessed, width=None)).highlights
        assert found is not None
        assert (found.percent("Good HIT@1"), found.percent("Good mAP")) == (hit, precision)


CORPUS = CorpusTruth(np.array([7, 7, 3]), ragged([[10, 20]], [[0, 10]], [[0, 4]], width=2))


def test_a_corpus_is_searched_for_the_video_and_the_window() -> None:
    vcmr = ragged(
        [[7, 10, 20, 1.0]],
        [[3, 0, 10, 1.0], [7, 0, 10, 0.9]],
        [[7, 0, 4, 1.0], *([3, 50, 60, 0.5] for _ in range(9)), [3, 0, 2, 0.1]],
        width=4,
    )
    found = score_corpus(CORPUS, {"VCMR": vcmr, "SVMR": vcmr, "VR": vcmr})
    third = 100 / 3
    assert [found["VCMR"].percent(f"R{k}@0.5") for k in (1, 5, 10, 100)] == pytest.approx(
        [third, 2 * third, 2 * third, 100]
    )
    assert found["VCMR"].percent("R100@0.7") == pytest.approx(2 * third)
    # In the right video the others are passed over.
    assert found["SVMR"].percent("R1@0.5") == pytest.approx(2 * third)
    assert found["SVMR"].percent("R10@0.5") == pytest.approx(100)
    assert [found["VR"].percent(f"R{k}") for k in (1, 5)] == pytest.approx([third, 100])


def test_a_bound_that_is_met_exactly_in_32_bits_is_met() -> None:
    truth = CorpusTruth(np.array([0]), ragged([[0, 1.0]], width=2))
    found = score_corpus(truth, {"VCMR": ragged([[0, 0, 0.7, 1.0]], width=4)})
    assert found["VCMR"].percent("R1@0.7") == 100


def test_intervals_resample_videos_and_a_test_pairs_queries() -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 100, 60)
    truth = truth_of(
        *([[start, start + 20]] for start in starts), video_ids=[f"v{n // 2}" for n in range(60)]
    )
    good = ragged(*([[start + 1, start + 20, 1.0]] for start in starts))
    poor = ragged(*([[start + rng.integers(0, 20), start + 20, 1.0]] for start in starts))
    a, b = (score_moments(truth, windows).groups["full"] for windows in (poor, good))
    low, high = a.intervals(MOMENT_COLUMNS, num_bootstrap=200, seed=0)["mIoU"]
    assert low < a.percent("mIoU") < high
    test = compare_scores(a, b)["mIoU"]
    assert (test.num_clusters, test.p_value < 0.001) == (30, True)
    assert test.difference == pytest.approx(b.percent("mIoU") - a.percent("mIoU"))
