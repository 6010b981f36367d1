"""Ranks in a file, query by query, so that results are compared later: two of them metric by metric, or many by one
metric against the first, with Holm's correction, and runs that differ in their seed as one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationResult, row_name
from vtrcli.evaluation.protocol import QUESTION, SYSTEM, differences, is_by_ids
from vtrcli.files import write_whole
from vtrcli.ranking.metrics import (
    DirectionMetrics,
    Ties,
    holm,
    means_ci95,
    metrics_from_ranks,
    paired_test,
    per_query,
    require_same_kind,
)
from vtrcli.store.config import MALFORMED
from vtrcli.text_files import decode_text

RANKS_FORMAT = "vtr-ranks"
# A comma joins runs that differ in their seed.
SEEDS = ","


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
    of which video belongs to which text; None where it is not known (`truth`: in files of older versions);
    `protocol` is what the ranks rest on, empty in files of older versions.
    """

    path: Path
    ties: Ties
    rows: tuple[SavedRanks, ...]
    query_ids: Mapping[str, Sequence[str]]
    queries: str | None
    truth: str | None
    protocol: Mapping[str, Any]


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
    inputs, protocol = result.inputs, result.protocol()
    body = {
        "format": RANKS_FORMAT,
        "version": 1,
        "model": inputs.model,
        "ties": result.options.ties,
        "query_ids": _query_ids(inputs),
        "queries": protocol["captions"],
        "truth": protocol["truth"],
        "protocol": protocol,
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
    return {"t2v": list(inputs.caption_ids), "v2t": [name.rpartition("#")[0] or name for name in videos]}


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
        return RanksFile(
            path,
            body["ties"],
            rows,
            ids,
            body.get("queries"),
            body.get("truth"),
            dict(body.get("protocol") or {}),
        )
    except FileNotFoundError:
        raise _unreadable(path, "it is not there") from None
    except (InputError, json.JSONDecodeError) as cause:
        raise _unreadable(path, "it is no JSON") from cause
    except MALFORMED as cause:
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
    by_ids = bool(a.query_ids) and bool(b.query_ids) and not _same_ids(a, b)
    if (None not in (a.queries, b.queries) and a.queries != b.queries) or by_ids:
        ids = [file.query_ids.get("t2v", []) for file in (a, b)]
        other = [(one, two) for one, two in itertools.zip_longest(*ids, fillvalue="nothing") if one != two]
        what = (
            f"{len(other):,} of {max(map(len, ids)):,} differ, the first is {other[0][0]!r} and {other[0][1]!r}"
            if other
            else "the same ids with other texts"
        )
        raise InputError(f"{a.path} and {b.path} hold other queries: {what}", allowed=same, to_do=again)
    if a.truth and b.truth and a.truth != b.truth and is_by_ids(a.truth) == is_by_ids(b.truth):
        raise InputError(
            f"{a.path} and {b.path} hold other queries: which video belongs to which text differs",
            allowed=same,
            to_do=again,
        )
    if None in (a.queries, b.queries) and not _same_ids(a, b):
        return "the queries have no names in one of the files: that they are the same cannot be checked"
    return None


def _same_ids(a: RanksFile, b: RanksFile) -> bool:
    """Whether both have the ids of the queries, though not their words, and they are the same."""
    ids = a.query_ids.get("t2v"), b.query_ids.get("t2v")
    return bool(ids[0]) and ids[0] == ids[1]


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


@dataclass(frozen=True)
class Contender:
    """What is compared: one file, or several that differ in their seed alone."""

    name: str
    files: tuple[RanksFile, ...]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One contender in one direction; what compares it with the first is None for the first itself.

    Attributes:
        mean: of the metric, over queries and then over seeds. deviation: over the seeds (n - 1); None for one.
        ci95: of the mean over seeds, as in `vtr eval`; None below MIN_CLUSTERS clusters.
        p_holm: the p-value times what Holm's correction makes of it among all contenders of this direction.
    """

    direction: str
    name: str
    method: str
    transductive: bool
    num_seeds: int
    mean: float
    deviation: float | None
    ci95: tuple[float, float] | None
    difference: float | None = None
    difference_ci95: tuple[float, float] | None = None
    p_value: float | None = None
    p_holm: float | None = None


def read_contenders(texts: Sequence[str]) -> list[Contender]:
    """Read `a.json` or, with seeds, `a-1.json,a-2.json`; each must be there and about the queries of the first.

    Raises:
        InputError: no file of ranks, or of other queries.
        UsageError: fewer than two.
    """
    if len(texts) < 2:
        raise UsageError(
            f"{len(texts)} file of ranks",
            allowed="two or more are compared",
            to_do="write vtr compare A.json B.json; a comma joins seeds: A-1.json,A-2.json",
        )
    groups = [
        [Path(text)] if Path(text).exists() else [Path(part) for part in text.split(SEEDS) if part]
        for text in texts
    ]
    names = [_shared([path.stem for path in paths]) for paths in groups]
    if len(set(names)) < len(names):  # the same name in several folders
        names = [_shared([str(path.with_suffix("")) for path in paths]) for paths in groups]
    return [
        Contender(name if len(paths) == 1 else f"{name} ({len(paths)} seeds)", tuple(map(read_ranks, paths)))
        for name, paths in zip(names, groups, strict=True)
    ]


def _shared(names: Sequence[str]) -> str:
    """What the names of all seeds begin with."""
    letters = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False))
    return "".join(column[0] for column in letters).rstrip("-_./ ") or names[0]


def remarks(contenders: Sequence[Contender]) -> Iterator[str]:
    """What to know before the numbers: what differs in the question, what differs in the answer, what is not known.

    Raises:
        InputError: files of other queries, or of another rule for ties.
    """
    first = contenders[0].files[0]
    doubts = dict.fromkeys(
        require_same_queries(first, file) for one in contenders for file in one.files if file is not first
    )
    yield from filter(None, doubts)
    unknown = [file.path.name for one in contenders for file in one.files if not file.protocol]
    if unknown:
        yield f"no protocol in {', '.join(unknown)}, written by an older vtr: what else differs is not known"
    for one in contenders:
        for seed in one.files[1:]:
            others = tuple(name for name in (*QUESTION, *SYSTEM) if name != "seed")
            for text in differences(one.files[0].protocol, seed.protocol, others):
                yield f"{one.name} differ in more than their seed: {text}"
    for one in contenders[1:]:
        for text in differences(first.protocol, one.files[0].protocol, QUESTION):
            yield f"{contenders[0].name} and {one.name} answer other questions: {text}"
    for one in contenders[1:]:
        known = differences(
            first.protocol, one.files[0].protocol, tuple(name for name in SYSTEM if name != "corrections")
        )
        if known:
            yield f"{contenders[0].name} / {one.name} differ in {'; '.join(known)}"


def standings(contenders: Sequence[Contender], *, direction: str, method: str, metric: str) -> list[Standing]:
    """All contenders in one direction, the first one the baseline of the others.

    Raises:
        InputError: a file without that row, or ranks that count something else.
    """
    rows = [
        [choose_row(file, direction=direction, method=method) for file in one.files] for one in contenders
    ]
    first = rows[0][0]
    for row in itertools.chain(*rows):
        require_same_kind(first.metrics, row.metrics)
    values = [np.stack([per_query(row.metrics, metric, ties=row.ties) for row in seeds]) for seeds in rows]
    clusters = first.metrics.clusters
    tests = [paired_test(values[0].mean(0), other.mean(0), clusters=clusters) for other in values[1:]]
    adjusted = holm([test.p_value for test in tests])
    found = []
    for number, (one, seeds, numbers) in enumerate(zip(contenders, rows, values, strict=True)):
        intervals = means_ci95(numbers.mean(0)[:, None], clusters=clusters)
        compared: dict[str, Any] = {}
        if number:
            test = tests[number - 1]
            compared = {
                "difference": test.difference,
                "difference_ci95": test.difference_ci95,
                "p_value": test.p_value,
                "p_holm": adjusted[number - 1],
            }
        means = numbers.mean(1)
        found.append(
            Standing(
                direction=direction,
                name=one.name,
                method=method,
                transductive=any(row.transductive for row in seeds),
                num_seeds=len(seeds),
                mean=float(means.mean()),
                deviation=float(means.std(ddof=1)) if len(seeds) > 1 else None,
                ci95=intervals[0] if intervals else None,
                **compared,
            )
        )
    return found
