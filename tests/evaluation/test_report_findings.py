from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.reports import evaluated, make_inputs, small_result
from vtrcli.evaluation.evaluate import EvaluationInputs
from vtrcli.evaluation.report import findings
from vtrcli.evaluation.report.parts import label
from vtrcli.ranking.metrics import metrics_from_ranks
from vtrcli.ranking.ranks import TopItems
from vtrcli.ranking.scores import DenseScores
from vtrcli.ranking.truth import Truth


def test_names_say_method_temperature_and_bank() -> None:
    result = small_result()
    names = [label(each, result.inputs) for each in result.evaluations]
    assert names == [
        "plain",
        "dsl, T\u00a0=\u00a01",
        "dsl, T\u00a0=\u00a01, bank of 40 texts",
        "csls",
        "csls, bank of 40 texts",
    ]


def test_the_curve_ends_at_100_percent_and_agrees_with_the_table() -> None:
    result = small_result()
    metrics = result.evaluations[0].t2v
    k, recall = findings.recall_curve(metrics, num_items=30, ties="average")
    assert (k[0], k[-1], recall[-1]) == (1, 30, 100.0)
    assert recall[k.index(5)] == pytest.approx(metrics.recall[5])
    assert recall == sorted(recall)


def test_the_histogram_counts_every_query_once() -> None:
    metrics = metrics_from_ranks(np.array([1.0, 1.5, 5, 6, 30]), direction="t2v", num_bootstrap=0)
    edges = findings.rank_bins(30)
    assert findings.range_names(edges) == ["1", "2–5", "6–10", "11–30"]
    assert findings.rank_shares(metrics, edges) == [20, 40, 20, 20]


def test_names_of_ranges_stay_short() -> None:
    assert findings.range_names([0, 1000, 10_000], first=0) == ["0", "1–1k", "1k–10k"]


def test_the_gain_is_that_of_the_same_queries() -> None:
    result = small_result()
    plain, corrected = result.evaluations[0].t2v, result.evaluations[1].t2v
    gain, interval = findings.recall_gain(plain, corrected, k=1, ties="average", options=result.options)
    assert gain == pytest.approx(corrected.recall[1] - plain.recall[1])
    assert interval and interval[0] <= gain <= interval[1]
    without = replace(result.options, num_bootstrap=0)
    assert findings.recall_gain(plain, corrected, k=1, ties="average", options=without)[1] is None


def test_hubs_are_counted_before_and_after() -> None:
    tops = [
        TopItems(np.array([[0], [0], [1]]), np.zeros((3, 1))),
        TopItems(np.array([[0], [2], [1]]), np.zeros((3, 1))),
    ]
    hubs = findings.hubs(tops, num_videos=3)
    assert hubs is not None and hubs.corrected is not None
    assert (hubs.plain.tolist(), hubs.corrected.tolist(), hubs.worst) == ([2, 1, 0], [1, 1, 1], [0, 1, 2])
    assert findings.hubs(tops, num_videos=1) is None


def test_skewness_by_hand() -> None:
    assert findings.skewness(np.array([3, 3, 3])) == 0
    assert findings.skewness(np.array([0, 0, 0, 4])) == pytest.approx(2 / 3**0.5)


def test_groups_hold_every_text_once() -> None:
    result = small_result()
    for groups in (findings.by_length(result), findings.by_category(result)):
        assert sum(group.metrics[0].num_queries for group in groups) == 60
        assert all(len(group.metrics) == 2 for group in groups)
    assert [group.name for group in findings.by_length(result)] == ["5–6", "7–8", "9–10", "11–13"]
    assert [group.name for group in findings.by_category(result)] == ["food", "sport"]


def test_there_are_no_groups_without_texts_or_categories() -> None:
    bare = replace(make_inputs(), texts=(), video_ids=(), categories={})
    assert findings.by_length(evaluated(bare)) == findings.by_category(evaluated(bare)) == []


def test_a_category_that_is_not_known_is_a_group() -> None:
    inputs = make_inputs()
    result = evaluated(replace(inputs, categories={inputs.video_ids[3]: "food"}))
    assert [(each.name, each.metrics[0].num_queries) for each in findings.by_category(result)] == [
        ("not known", 58),
        ("food", 2),
    ]


def scores(rows: list[list[float]], video_of_text: list[int]) -> EvaluationInputs:
    matrix = np.array(rows)
    truth = Truth.from_videos(video_of_text, num_videos=matrix.shape[1])
    return EvaluationInputs(DenseScores(matrix), truth, model="by hand")


def test_the_worst_query_comes_first_with_what_was_found_instead() -> None:
    result = evaluated(scores([[0.9, 0.5, 0.1], [0.3, 0.2, 0.4], [0.7, 0.8, 0.1]], [0, 1, 2]), methods=())
    first, second = findings.worst_queries(result, findings.top_lists(result)[0])
    assert (first.text, first.rank, first.right, first.found) == (1, 3.0, (1,), (2, 0))
    assert (second.text, second.rank, second.right, second.found) == (2, 3.0, (2,), (1, 0))
    assert first.corrected_rank is None


def test_of_several_texts_of_a_video_only_the_worst_is_listed() -> None:
    result = evaluated(scores([[0.1, 0.2, 0.3], [0.2, 0.3, 0.1], [0.1, 0.2, 0.3]], [0, 0, 2]))
    (only,) = findings.worst_queries(result, findings.top_lists(result)[0])
    assert (only.text, only.rank) == (0, 3.0)


def test_a_text_whose_video_is_first_is_not_listed() -> None:
    result = evaluated(scores([[0.9, 0.1], [0.1, 0.9]], [0, 1]))
    assert findings.worst_queries(result, findings.top_lists(result)[0]) == []
