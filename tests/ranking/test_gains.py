"""nDCG, AP, RR, P, Recall and Success: by the definition, over all orders of equal scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from tests.ranking.test_listed import lists_of
from vtrcli.errors import UsageError
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.gains import Metric, Places, places_of
from vtrcli.ranking.methods import Correction
from vtrcli.ranking.scores import DenseScores
from vtrcli.ranking.truth import Truth

NAMES = ("nDCG", "nDCG@1", "nDCG@3", "AP", "AP@2", "P@1", "P@3", "Recall@2", "Recall@4")


def by_definition(
    order: tuple[int, ...], grades: dict[int, int], metric: Metric, *, num_listed: int
) -> float:
    """Of one ranking, place by place; what is not listed is not in it."""
    k = metric.k or len(order)
    right = [item in grades and place < num_listed for place, item in enumerate(order)]
    hits = [place for place, is_right in enumerate(right, start=1) if is_right and place <= k]
    if metric.name == "nDCG":
        best = sorted(grades.values(), reverse=True)[:k]
        ideal = sum(grade / math.log2(place + 1) for place, grade in enumerate(best, start=1))
        return sum(grades[order[place - 1]] / math.log2(place + 1) for place in hits) / ideal
    if metric.name == "AP":
        return sum((number + 1) / place for number, place in enumerate(hits)) / len(grades)
    return len(hits) / (len(grades) if metric.name == "Recall" else k)


def orders(scores: np.ndarray) -> list[tuple[int, ...]]:
    """All rankings that the scores allow."""
    items = range(len(scores))
    return [
        one
        for one in itertools.permutations(items)
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(one))
    ]


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, dict[int, int]]:
    size = draw(st.integers(1, 6))
    scores = np.array(draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)), float)
    scores[draw(st.integers(0, size)) :] = -np.inf
    right = draw(st.sets(st.integers(0, size - 1), min_size=1))
    return scores, {item: draw(st.integers(1, 3)) for item in sorted(right)}


def places(scores: np.ndarray, grades: dict[int, int]) -> Places:
    items = np.array(list(grades), np.int64)
    values = np.array(list(grades.values()))
    source = lists_of(scores[None])
    return places_of(source, np.zeros(len(items), np.int64), items, values, Correction(), edge=2)


@given(rows())
@tries(max_examples=60)
def test_a_metric_is_its_mean_over_all_orders_of_equal_scores(row: tuple[np.ndarray, dict[int, int]]) -> None:
    scores, grades = row
    found = places(scores, grades)
    num_listed = int(np.isfinite(scores).sum())
    for metric in map(Metric.parse, NAMES):
        every = [by_definition(order, grades, metric, num_listed=num_listed) for order in orders(scores)]
        assert found.values(metric, "average")[0] == pytest.approx(np.mean(every), abs=1e-12)
        assert found.values(metric, "optimistic")[0] >= np.mean(every) - 1e-12


@given(st.integers(0, 2**32 - 1))
@tries(max_examples=20)
def test_lists_and_tiles_give_the_same_places(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 4, (5, 7)).astype(float)
    pairs = np.unique(rng.integers(0, (5, 7), (9, 2)), axis=0)
    grades = rng.integers(1, 4, len(pairs))
    one, other = (
        places_of(source, pairs[:, 0], pairs[:, 1], grades, Correction(), edge=3)
        for source in (lists_of(matrix), DenseScores(matrix))
    )
    for name in ("queries", "num_above", "num_level", "grades"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@pytest.mark.parametrize("ties", ["average", "optimistic", "pessimistic"])
def test_rr_and_success_are_those_of_the_table(ties: str) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 5, (20, 12)).astype(np.float32)
    pairs = np.unique(np.column_stack([np.repeat(np.arange(20), 2), rng.integers(0, 12, 40)]), axis=0)
    truth = Truth.from_pairs(pairs, num_texts=20, num_videos=12)
    result = evaluate(matrix, truth, ties=ties, metrics=["RR", "Success@1", "Success@5"], v2t_over="captions")  # type: ignore[arg-type]
    for metrics in (result.t2v, result.v2t):
        assert metrics is not None
        assert metrics.more["RR"] == pytest.approx(metrics.mrr, abs=1e-12)
        assert 100 * metrics.more["Success@1"] == pytest.approx(metrics.recall[1], abs=1e-9)
        assert 100 * metrics.more["Success@5"] == pytest.approx(metrics.recall[5], abs=1e-9)


def test_a_correction_changes_them_too() -> None:
    rng = np.random.default_rng(1)
    matrix = (rng.random((30, 30)) * 0.3 + 0.1 * np.eye(30)).astype(np.float32)
    plain, corrected = (
        evaluate(matrix, Truth.diagonal((30, 30)), method=name, metrics=["RR"]) for name in ("none", "dsl")
    )
    assert plain.t2v.more["RR"] == pytest.approx(plain.t2v.mrr)
    assert corrected.t2v.more["RR"] == pytest.approx(corrected.t2v.mrr) != plain.t2v.mrr


@pytest.mark.parametrize(
    ("text", "name"), [("ndcg@10", "nDCG@10"), ("MAP", "AP"), ("mrr@10", "RR@10"), (" p@5", "P@5")]
)
def test_names_are_those_of_ir_measures_in_any_case(text: str, name: str) -> None:
    assert str(Metric.parse(text)) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nDCG@0",
            "the metric 'nDCG@0'; nDCG, AP, RR with or without @k; P@k, Recall@k, Success@k; write for example",
        ),
        (
            "P",
            "the metric 'P'; nDCG, AP, RR with or without @k; P@k, Recall@k, Success@k; write for example --metrics",
        ),
        (
            "R@5",
            "the metric 'R@5'; nDCG, AP, RR with or without @k; P@k, Recall@k, Success@k; R@k is in the table, and is",
        ),
    ],
)
def test_another_name_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Metric.parse(text)
    assert str(caught.value).startswith(message)
