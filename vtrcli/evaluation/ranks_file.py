"""Ranks of every query on disk, so that two evaluations can be compared query by query later."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationResult
from vtrcli.files import write_whole
from vtrcli.ranking.evaluate import Evaluation
from vtrcli.ranking.metrics import DirectionMetrics, Ties, metrics_from_ranks
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


@dataclass(frozen=True)
class RanksFile:
    """Rows, and what tells whether two files are about the same queries.

    `query_ids` per direction (empty where they are not known); `queries` and `truth` are hashes, of ids with texts and
    of which video belongs to which text; None where it is not known (`truth`: in files of older versions).
    """

    path: Path
    ties: Ties
    rows: tuple[SavedRanks, ...]
    query_ids: Mapping[str, Sequence[str]]
    queries: str | None
    truth: str | None


def row_name(evaluation: Evaluation) -> str:
    """The method; with "+bank" where other queries than the test queries were the bank."""
    return evaluation.method + (BANK_SUFFIX if evaluation.uses_bank else "")


def write_ranks(result: EvaluationResult, path: Path) -> None:
    """Write one row per direction and method, as JSON. Raises StoreError when it cannot be written."""
    rows = [
        {
            "direction": metrics.direction,
            "over": metrics.over,
            "method": row_name(evaluation),
            "temperature": evaluation.temperature,
            "transductive": evaluation.transductive,
            "ranks": metrics.ranks.tolist(),
            "num_tied": metrics.num_tied.tolist(),
            "clusters": metrics.clusters.tolist(),
        }
        for evaluation in result.evaluations
        for metrics in (evaluation.t2v, evaluation.v2t)
        if metrics is not None
    ]
    inputs, truth = result.inputs, result.inputs.truth
    pairs = np.stack([truth.text_index, truth.video_index], axis=1).astype("<i8")
    named = [f"{name}\0{text}\0" for name, text in zip(inputs.caption_ids, inputs.texts, strict=False)]
    body = {
        "format": RANKS_FORMAT,
        "version": 1,
        "model": inputs.model,
        "ties": result.options.ties,
        "query_ids": _query_ids(inputs),
        "queries": _sha256("".join(named).encode("utf-8", "surrogatepass")) if named else None,
        "truth": _sha256(f"{truth.num_texts} {truth.num_videos} ".encode() + pairs.tobytes()),
        "rows": rows,
    }
    write_whole(path, json.dumps(body).encode())


def _query_ids(inputs: EvaluationInputs) -> dict[str, list[str]]:
    """Ids of the data set, not of the store: two stores of one data set are asked the same queries."""
    if not inputs.caption_ids:
        return {}
    truth = inputs.truth
    first_text = dict(zip(truth.video_index[::-1].tolist(), truth.text_index[::-1].tolist(), strict=True))
    videos = [inputs.caption_ids[first_text[video]] for video in truth.videos_with_text.tolist()]
    return {"t2v": list(inputs.caption_ids), "v2t": [name.rpartition("#")[0] for name in videos]}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_ranks(path: Path) -> RanksFile:
    """Read what `write_ranks` wrote.

    Raises:
        InputError: missing, or no file of ranks.
    """
    try:
        body: dict[str, Any] = json.loads(decode_text(path.read_bytes(), name=str(path)))
        if body["format"] != RANKS_FORMAT or body["version"] != 1:
            raise ValueError("it holds no ranks")
        rows = tuple(_saved(row, body["ties"]) for row in body["rows"])
        ids = {str(way): [str(name) for name in names] for way, names in body.get("query_ids", {}).items()}
        return RanksFile(path, body["ties"], rows, ids, body.get("queries"), body.get("truth"))
    except FileNotFoundError:
        raise _unreadable(path, "it is not there") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise _unreadable(path, str(cause)) from cause


def _saved(row: dict[str, Any], ties: Ties) -> SavedRanks:
    ranks, num_tied = np.array(row["ranks"], float), np.array(row["num_tied"], np.int64)
    clusters = np.array(row.get("clusters", np.arange(len(ranks))), np.int64)
    if ranks.ndim != 1 or not len(ranks) or not (ranks >= 1).all():
        raise ValueError("its ranks are not numbers from 1")
    if not ranks.shape == num_tied.shape == clusters.shape:
        raise ValueError("its ranks, ties and clusters are not of one length")
    metrics = metrics_from_ranks(
        ranks,
        direction=row["direction"],
        over=row.get("over"),
        num_tied=num_tied,
        clusters=clusters,
        ties=ties,
        num_bootstrap=0,
    )
    return SavedRanks(row["method"], row["temperature"], bool(row["transductive"]), ties, metrics)


def require_same_queries(a: RanksFile, b: RanksFile) -> str | None:
    """A sentence for the user where it cannot be known that both are about the same queries.

    Raises:
        InputError: they are about others, or were ranked by another rule for ties.
    """
    if a.ties != b.ties:
        raise InputError(
            f"{a.path} ranks equal scores by {a.ties!r}, {b.path} by {b.ties!r}",
            allowed="one rule for ties on both sides",
            to_do="evaluate both with the same --ties",
        )
    same = "a paired test needs the same queries, in the same order on both sides"
    again = "evaluate both on the same split with --save-ranks"
    if None not in (a.queries, b.queries) and a.queries != b.queries:
        ids = [file.query_ids.get("t2v", []) for file in (a, b)]
        other = [(one, two) for one, two in itertools.zip_longest(*ids, fillvalue="nothing") if one != two]
        what = (
            f"{len(other):,} of {max(map(len, ids)):,} differ, the first is {other[0][0]!r} and {other[0][1]!r}"
            if other
            else "the same ids with other texts"
        )
        raise InputError(f"{a.path} and {b.path} hold other queries: {what}", allowed=same, to_do=again)
    if None not in (a.truth, b.truth) and a.truth != b.truth:
        raise InputError(
            f"{a.path} and {b.path} hold other queries: which video belongs to which text differs",
            allowed=same,
            to_do=again,
        )
    if None in (a.queries, b.queries):
        return "the queries have no names in one of the files: that they are the same cannot be checked"
    return None


def choose_row(file: RanksFile, *, direction: str, method: str) -> SavedRanks:
    """The row of one direction and method; InputError naming what there is."""
    for row in file.rows:
        if row.metrics.direction == direction and row.method == method:
            return row
    there = ", ".join(f"{row.metrics.direction} {row.method}" for row in file.rows)
    raise InputError(
        f"{file.path} has no ranks of {direction} {method}",
        allowed=f"it has {there or 'none'}",
        to_do="choose one of these, or evaluate again with that --method",
    )


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} cannot be compared: {why}",
        allowed="a file of ranks",
        to_do="write one with `vtr eval --save-ranks FILE.json`",
    )
