"""Numbers of a real matrix: Cap4Video's published scores of MSR-VTT 1k-A, ViT-B/32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vtrcli as vtr
from tests.ranking.runs import diagonal, run_of, write_beir, write_qrels, write_trec
from vtrcli.ranking.evaluate import arrivals, evaluate
from vtrcli.ranking.files import read_similarities
from vtrcli.ranking.metrics import DirectionMetrics
from vtrcli.ranking.truth import Truth

TRUTH = Truth.diagonal((1000, 1000))


@pytest.fixture(scope="module")
def matrix(test_data: Path) -> np.ndarray:
    return read_similarities(test_data / "similarities" / "msrvtt_1ka_vitb32.npy")


def row(metrics: DirectionMetrics | None) -> tuple[float, ...]:
    assert metrics is not None
    return (*(metrics.recall[k] for k in (1, 5, 10)), metrics.median_rank, round(metrics.mean_rank, 3))


def test_plain_scores(matrix: np.ndarray) -> None:
    optimistic, pessimistic = (evaluate(matrix, TRUTH, ties=ties) for ties in ("optimistic", "pessimistic"))
    assert row(optimistic.t2v) == row(pessimistic.t2v) == (48.0, 73.0, 82.9, 2, 13.129)
    assert row(optimistic.v2t) == (46.0, 74.1, 82.8, 2, 8.674)
    assert row(pessimistic.v2t) == (45.6, 74.1, 82.7, 2, 8.686)
    average = evaluate(matrix, TRUTH)
    assert row(average.v2t) == (45.8, 74.1, 82.75, 2, 8.68)
    assert average.v2t is not None and (average.t2v.num_ties, average.v2t.num_ties) == (0, 9)
    assert average.t2v.recall_ci95[1] == pytest.approx((44.9, 51.1), abs=0.3)
    assert (average.logit_scale, average.warnings) == (100, ())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["trec", "ranx", "beir"])
def test_a_complete_run_gives_the_numbers_of_the_matrix(
    matrix: np.ndarray, tmp_path: Path, form: str
) -> None:
    """As a matrix, a TREC run, ranx's JSON or with a BEIR folder: the same to the digit, corrected, too."""
    run = run_of(np.asarray(matrix))
    qrels = write_qrels(tmp_path / "qrels", diagonal(1000))
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run)) if form == "ranx" else write_trec(path := tmp_path / "run.trec", run)
    if form == "beir":
        qrels = write_beir(tmp_path / "beir", diagonal(1000))
    found = vtr.evaluate(trec=path, qrels=qrels, dsl=True)
    expected = vtr.evaluate(np.asarray(matrix), dsl=True)
    assert found.table() == expected.table()
    assert [note for note in found.notes if "list" in note] == []


def test_dual_softmax(matrix: np.ndarray) -> None:
    result = evaluate(matrix, TRUTH, method="dsl", ties="optimistic")
    assert row(result.t2v) == (52.8, 78.0, 85.8, 1, 10.921)
    assert row(result.v2t) == (52.6, 76.7, 85.0, 1, 8.15)
    assert result.transductive


@pytest.mark.parametrize(
    ("options", "t2v", "v2t"),
    [
        ({"method": "inverted-softmax"}, 52.7, None),
        ({"method": "sinkhorn", "num_rounds": 10}, 53.8, 53.3),
        ({"method": "csls", "k": 1}, 51.1, None),
        ({"method": "csls", "k": 10}, 49.7, None),
        ({"method": "mutual-softmax"}, 50.5, None),
        ({"method": "dsl", "temperature": 1000}, 48.2, 46.0),
        ({"method": "dsl", "temperature": 100}, 47.5, 46.5),
        ({"method": "dsl", "temperature": 10}, 46.6, 47.3),
        ({"method": "dsl", "temperature": 3}, 47.7, 49.4),
        ({"method": "dsl", "temperature": 2}, 50.4, 51.5),
        ({"method": "dsl", "temperature": 0.5}, 50.6, 50.8),
    ],
)
def test_recall_at_1(matrix: np.ndarray, options: dict[str, object], t2v: float, v2t: float | None) -> None:
    result = evaluate(matrix, TRUTH, ties="optimistic", num_bootstrap=0, **options)  # type: ignore[arg-type]
    assert result.t2v.recall[1] == t2v
    assert result.v2t is not None and v2t in (None, result.v2t.recall[1])


def test_a_matrix_in_another_unit_gives_the_same_gain(matrix: np.ndarray) -> None:
    result = evaluate(14.3 * np.asarray(matrix), TRUTH, method="dsl", ties="optimistic", num_bootstrap=0)
    assert result.logit_scale == pytest.approx(100 / 14.3, rel=0.05)
    assert result.t2v.recall[1] == pytest.approx(52.8, abs=0.3)  # taken as logits: 46.4, below plain
    assert "neither cosines nor logits" in result.warnings[0]
    assert evaluate(100 * np.asarray(matrix), TRUTH, method="dsl", num_bootstrap=0).logit_scale == 1


def test_dual_softmax_needs_all_queries_at_once(matrix: np.ndarray) -> None:
    """Alone it does nothing, in batches it does harm; only near the full set does it pay."""
    alone, some, everything = arrivals(matrix, TRUTH, [1, 256, 1000])
    assert (alone.recall[1], alone.mean_rank) == (48.0, 13.129)
    assert some.recall[1] == pytest.approx(46.9, abs=0.6)
    assert everything.recall[1] == 52.8


def test_a_bank_of_other_captions_pays_when_it_covers_the_gallery(matrix: np.ndarray) -> None:
    """The first 20 queries with all other captions, and with 50 of them."""
    scores = np.asarray(matrix)
    truth = Truth.from_videos(np.arange(400), num_videos=1000)
    recall = {}
    for size in (50, 600):
        result = evaluate(
            scores[:400], truth, method="inverted-softmax", bank=scores[400 : 400 + size], num_bootstrap=0
        )
        recall[size] = result.t2v.recall[1]
        assert not result.transductive
    assert recall[50] < evaluate(scores[:400], truth, num_bootstrap=0).t2v.recall[1]
    assert recall[50] < recall[600]
