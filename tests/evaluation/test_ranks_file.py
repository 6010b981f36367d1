"""Ranks survive the way to disk, and a file that holds none says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vtrcli.errors import InputError
from vtrcli.evaluation.inputs import EvaluationInputs
from vtrcli.evaluation.ranks_file import choose_row, read_ranks, write_ranks
from vtrcli.evaluation.run import EvaluationOptions, evaluate_inputs
from vtrcli.retrieval.scores import DenseScores
from vtrcli.retrieval.truth import Truth


def save(path: Path, *, seed: int = 0) -> Path:
    matrix = np.random.default_rng(seed).random((9, 9)).astype(np.float32)
    inputs = EvaluationInputs(DenseScores(matrix), Truth.diagonal((9, 9)), model="random")
    write_ranks(evaluate_inputs(inputs, EvaluationOptions(methods=("dsl",), num_bootstrap=0)), path)
    return path


def test_rows_come_back_with_their_ranks(tmp_path: Path) -> None:
    rows = read_ranks(save(tmp_path / "a.json"))
    assert [(row.metrics.direction, row.method, row.transductive) for row in rows] == [
        ("t2v", "none", False),
        ("v2t", "none", False),
        ("t2v", "dsl", True),
        ("v2t", "dsl", True),
    ]
    assert len(rows[0].metrics.ranks) == 9 and rows[0].metrics.ranks.min() >= 1


def test_a_row_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    rows = read_ranks(save(tmp_path / "a.json"))
    with pytest.raises(
        InputError, match="has no ranks of t2v csls; it has t2v none, v2t none, t2v dsl, v2t dsl; "
    ):
        choose_row(rows, tmp_path / "a.json", direction="t2v", method="csls")


def test_a_row_with_a_bank_has_a_name_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source, bank = (DenseScores(rng.random((9, 9)).astype(np.float32)) for _ in range(2))
    inputs = EvaluationInputs(source, Truth.diagonal((9, 9)), model="random", bank=bank)
    result = evaluate_inputs(inputs, EvaluationOptions(methods=("dsl", "csls"), num_bootstrap=0))
    path = tmp_path / "a.json"
    write_ranks(result, path)
    rows = read_ranks(path)
    row = choose_row(rows, path, direction="t2v", method="dsl+bank")
    assert not row.transductive
    assert choose_row(rows, path, direction="t2v", method="dsl").transductive
    with pytest.raises(InputError, match=r"has no ranks of t2v nnn; it has .*t2v dsl\+bank.*t2v csls\+bank"):
        choose_row(rows, path, direction="t2v", method="nnn")


@pytest.mark.parametrize(
    "text",
    [None, "", "{}", '{"format": "vtr-ranks", "version": 1, "ties": "average", "rows": [{"ranks": [0.5]}]}'],
)
def test_anything_else_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_ranks(path)
    assert str(caught.value).startswith(f"{path} cannot be compared: ")
    assert str(caught.value).endswith("; a file of ranks; write one with `vtr eval --save-ranks FILE.json`")
