"""Ranks of every query on disk, so that two evaluations can be compared query by query later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError
from vtrcli.evaluation.run import EvaluationResult
from vtrcli.files import write_whole
from vtrcli.retrieval.evaluate import Evaluation
from vtrcli.retrieval.methods import METHODS
from vtrcli.retrieval.metrics import DirectionMetrics, Ties, metrics_from_ranks
from vtrcli.text_files import decode_text

RANKS_FORMAT = "vtr-ranks"
BANK_SUFFIX = "+bank"


@dataclass(frozen=True)
class SavedRanks:
    """One row of a file of ranks. `method` is its name in the file: `dsl`, or `dsl+bank`."""

    method: str
    temperature: float | None
    transductive: bool
    ties: Ties
    metrics: DirectionMetrics


def row_name(evaluation: Evaluation) -> str:
    """The method; with "+bank" where other queries than the test queries were the bank."""
    has_bank = METHODS[evaluation.method].transductive and not evaluation.transductive
    return evaluation.method + (BANK_SUFFIX if has_bank else "")


def write_ranks(result: EvaluationResult, path: Path) -> None:
    """Write one row per direction and method, as JSON. Raises StoreError when it cannot be written."""
    rows = [
        {
            "direction": metrics.direction,
            "method": row_name(evaluation),
            "temperature": evaluation.temperature,
            "transductive": evaluation.transductive,
            "ranks": metrics.ranks.tolist(),
            "num_tied": metrics.num_tied.tolist(),
        }
        for evaluation in result.evaluations
        for metrics in (evaluation.t2v, evaluation.v2t)
        if metrics is not None
    ]
    body = {
        "format": RANKS_FORMAT,
        "version": 1,
        "model": result.inputs.model,
        "ties": result.options.ties,
        "rows": rows,
    }
    write_whole(path, json.dumps(body).encode())


def read_ranks(path: Path) -> list[SavedRanks]:
    """Read what `write_ranks` wrote.

    Raises:
        InputError: missing, or no file of ranks.
    """
    try:
        body: dict[str, Any] = json.loads(decode_text(path.read_bytes(), name=str(path)))
        if body["format"] != RANKS_FORMAT or body["version"] != 1:
            raise ValueError("it holds no ranks")
        return [_saved(row, body["ties"]) for row in body["rows"]]
    except FileNotFoundError:
        raise _unreadable(path, "it is not there") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise _unreadable(path, str(cause)) from cause


def _saved(row: dict[str, Any], ties: Ties) -> SavedRanks:
    ranks, num_tied = np.array(row["ranks"], float), np.array(row["num_tied"], np.int64)
    if ranks.ndim != 1 or not len(ranks) or ranks.shape != num_tied.shape or not (ranks >= 1).all():
        raise ValueError("its ranks are not numbers from 1")
    metrics = metrics_from_ranks(
        ranks, direction=row["direction"], num_tied=num_tied, ties=ties, num_bootstrap=0
    )
    return SavedRanks(row["method"], row["temperature"], bool(row["transductive"]), ties, metrics)


def choose_row(rows: Sequence[SavedRanks], path: Path, *, direction: str, method: str) -> SavedRanks:
    """The row of one direction and method; InputError naming what there is."""
    for row in rows:
        if row.metrics.direction == direction and row.method == method:
            return row
    there = ", ".join(f"{row.metrics.direction} {row.method}" for row in rows)
    raise InputError(
        f"{path} has no ranks of {direction} {method}",
        allowed=f"it has {there or 'none'}",
        to_do="choose one of these, or evaluate again with that --method",
    )


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be compared: {why}",
        allowed="a file of ranks",
        to_do="write one with `vtr eval --save-ranks FILE.json`",
    )
