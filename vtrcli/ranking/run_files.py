"""Runs, as information retrieval keeps them: for each query the items that a system found, with their scores. TREC's
run, ranx's JSON and parquet; read into scores (`listed.ListedScores`), written from any scores.

TREC's lines are read as a stream into two mapped files of numbers, so that memory does not grow with the run.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.datasets.files import as_text, first_few, wrong
from vtrcli.datasets.qrels import Judgment, json_tables, parquet_columns, plain_suffix, unpacked
from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.files import MATRIX_SUFFIXES
from vtrcli.ranking.listed import ListedScores
from vtrcli.ranking.trec import Numbers, Part, trec_parts
from vtrcli.ranking.truth import Truth

_MOST_KEPT = 1 << 17  # lines of the last query that are compared with the next ones


@dataclass(frozen=True)
class RunFile:
    """A run and its truth: rows are the queries with a right item, in the order of the qrels. `notes` for the user."""

    scores: ListedScores
    truth: Truth
    query_ids: tuple[str, ...]
    video_ids: tuple[str, ...]
    notes: tuple[str, ...]


def read_run(
    path: Path,
    judgments: Sequence[Judgment],
    *,
    relevant_from: int = 1,
    corpus: Sequence[str] = (),
    query_order: Sequence[str] = (),
    num_videos: int | None = None,
) -> RunFile:
    """Read a run and join it with the qrels: `.json` and `.parquet` as ranx has them, anything else as TREC; each also
    as `.gz` (but parquet).

    A query without a right item, or without qrels, is left out and told. One that the run lacks counts: it lists
    nothing. Ranks are not looked at, as in trec_eval; that they contradict the scores is told.

    Args:
        relevant_from: the lowest grade that is right.
        corpus: all ids that were ranked, in their order; nothing: those that qrels and run name.
        query_order: the queries in their order; nothing: that of the qrels.
        num_videos: how many were ranked, where that is more than are named.

    Raises:
        InputError: a file that is damaged, a score that is no finite number, an item twice for one query, ids that do
            not fit, or no right item at all.
        UsageError: a matrix.
    """
    path = Path(path)
    if path.suffix.lower() in MATRIX_SUFFIXES:
        raise UsageError(
            f"{path}: a matrix as a run",
            allowed="a run is TREC's lines, or ranx's .json or .parquet",
            to_do="give it with --similarities",
        )
    if not path.is_file():
        raise wrong(path, "no such file", allowed="a run is a file", to_do="check the path")
    positive = [judgment for judgment in judgments if judgment.grade >= relevant_from]
    if not positive:
        highest = max(judgment.grade for judgment in judgments)
        raise InputError(
            f"qrels without a right item: the highest of {len(judgments):,} grades is {highest}",
            allowed=f"an item is right from grade {relevant_from} on",
            to_do="check the qrels, or set --relevant-from",
        )
    has_right = dict.fromkeys(judgment.query_id for judgment in positive)
    query_ids = [query for query in query_order if query in has_right] or list(has_right)
    queries, videos = Numbers(), Numbers()
    for name in query_ids:
        queries[name.encode()]
    for name in corpus or dict.fromkeys(judgment.item_id for judgment in judgments):
        videos[name.encode()]
    num_known, contradicting = len(videos), _Contradictions()
    suffix, spool = plain_suffix(path), _Spool(len(query_ids))
    if suffix == ".json":
        parts = _json_parts(path, queries, videos)
    elif suffix in (".parquet", ".parq"):
        parts = _parquet_parts(path, queries, videos)
    else:
        parts = trec_parts(path, queries, videos)
    for part in parts:
        _require_finite(part, path, queries)
        contradicting.look_at(part)
        spool.add(part)
    video_ids = _decoded(videos, path)
    if corpus and len(videos) > num_known:
        raise wrong(
            path,
            f"{len(videos) - num_known:,} items are not in the corpus: {first_few(video_ids[num_known:])}",
            allowed="a run over the corpus beside the qrels",
            to_do="use the run and the folder of one data set",
        )
    size = _collection_size(len(videos), num_videos)
    scores = spool.scores(num_videos=size)
    truth = _truth(positive, query_ids, videos, num_videos=size)
    names = [*video_ids, *(f"#{number}" for number in range(len(video_ids), size))]
    anywhere = scores.listed_videos(name=str(path), text_ids=query_ids, video_ids=names)
    unjudged = _decoded(queries, path)[len(query_ids) :]
    if not anywhere.any():
        raise _of_two_worlds(path, "queries", query_ids, unjudged)
    if not anywhere[truth.video_index].any():
        there, here = truth.video_index, np.flatnonzero(anywhere)[:5]
        raise _of_two_worlds(path, "items", [names[at] for at in there], [names[at] for at in here])
    return RunFile(
        scores,
        truth,
        tuple(query_ids),
        tuple(names),
        (
            *_left_out(unjudged, {one.query_id for one in judgments}),
            *_nothing_listed(scores, query_ids),
            *_without_right(judgments, has_right, relevant_from),
            *contradicting.notes(),
        ),
    )


def _truth(
    positive: Sequence[Judgment], query_ids: Sequence[str], videos: Numbers, *, num_videos: int
) -> Truth:
    query_number = {name: number for number, name in enumerate(query_ids)}
    pairs = [(query_number[one.query_id], videos[one.item_id.encode()]) for one in positive]
    grades = np.array([one.grade for one in positive], np.int64)
    return Truth.from_pairs(
        np.array(pairs, np.int64), num_texts=len(query_ids), num_videos=num_videos, grades=grades
    )


def _collection_size(num_named: int, given: int | None) -> int:
    if given is not None and given < num_named:
        raise InputError(
            f"{given:,} videos, but run and qrels name {num_named:,}",
            allowed="the number of videos that were ranked, at least those that are named",
            to_do="mend --num-videos, or leave it out",
        )
    return given or num_named


def _of_two_worlds(path: Path, kind: str, there: Sequence[str], here: Sequence[str]) -> InputError:
    """Ids that never meet would give a zero that looks like a result."""
    return wrong(
        path,
        f"none of the {'right items' if kind == 'items' else 'queries'} of the qrels is in the run: "
        f"{first_few(there, most=2)} there, {first_few(here, most=2) or 'nothing'} here",
        allowed=f"the same ids of {kind} in both",
        to_do="use the qrels that belong to the run",
    )


def _left_out(unknown: list[str], judged: set[str]) -> list[str]:
    strange = [name for name in unknown if name not in judged]
    if not strange:
        return []
    return [
        f"{len(strange):,} queries of the run are not in the qrels and were left out: {first_few(strange)}"
    ]


def _without_right(
    judgments: Sequence[Judgment], has_right: Mapping[str, Any], relevant_from: int
) -> list[str]:
    without = [name for name in dict.fromkeys(one.query_id for one in judgments) if name not in has_right]
    if not without:
        return []
    return [
        f"{len(without):,} queries of the qrels have no item of grade {relevant_from} or more and were left out: "
        f"{first_few(without)}"
    ]


def _nothing_listed(scores: ListedScores, query_ids: list[str]) -> list[str]:
    empty = [query_ids[number] for number in np.flatnonzero(scores.lengths == 0)]
    if not empty:
        return []
    return [
        f"{len(empty):,} of {len(query_ids):,} queries are empty in the run: they count, and their right answers rank "
        f"last: {first_few(empty)}"
    ]


class _Contradictions:
    """Counts queries whose ranks and scores order items in two ways."""

    def __init__(self) -> None:
        self._queries: set[int] = set()
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def look_at(self, part: Part) -> None:
        """Lines that follow those before."""
        if part.ranks is None or not len(part.scores):
            return
        rows = (part.queries, part.ranks, part.scores)
        if self._last is not None:
            rows = tuple(np.concatenate(pair) for pair in zip(self._last, rows, strict=True))  # type: ignore[assignment]
        of_last = int((rows[0][::-1] == rows[0][-1]).argmin()) or len(rows[0])
        self._last = tuple(column[-min(of_last, _MOST_KEPT) :] for column in rows)  # type: ignore[assignment]
        queries, ranks, scores = rows
        if ((np.diff(queries) == 0) & (np.diff(ranks) < 0)).any():
            order = np.lexsort((-scores, ranks, queries))
            queries, ranks, scores = queries[order], ranks[order], scores[order]
        wrong_way = (np.diff(queries) == 0) & (np.diff(ranks) > 0) & (np.diff(scores) > 0)
        self._queries.update(queries[1:][wrong_way].tolist())

    def notes(self) -> list[str]:
        """A sentence where there are any."""
        if not self._queries:
            return []
        return [
            f"in {len(self._queries):,} queries the ranks of the run contradict its scores: the scores count, as in "
            "trec_eval"
        ]


class _Spool:
    """Numbers of a run on disk, query by query where the run has them so."""

    def __init__(self, num_queries: int) -> None:
        self._num_queries = num_queries
        folder = tempfile.mkdtemp(prefix="vtr-run-")
        self._paths = [Path(folder, name) for name in ("videos", "scores")]
        self._files = [open(path, "wb") for path in self._paths]  # noqa: SIM115 - closed below
        weakref.finalize(self, _clean_up, self._files, folder)
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []  # queries and lengths of consecutive lines
        self._num_lines = 0

    def add(self, part: Part) -> None:
        """Append lines; those of queries that are not asked for are left out."""
        kept = part.queries < self._num_queries
        queries, videos, scores = part.queries, part.videos, part.scores
        if not kept.all():
            queries, videos, scores = queries[kept], videos[kept], scores[kept]
        if not len(queries):
            return
        starts = np.flatnonzero(np.diff(queries, prepend=-1))
        self._runs.append((queries[starts].astype(np.int64), np.diff(starts, append=len(queries))))
        self._files[0].write(videos.astype(np.int32).tobytes())
        self._files[1].write(scores.tobytes())
        self._num_lines += len(queries)

    def scores(self, *, num_videos: int) -> ListedScores:
        """What was written. A run whose queries are scattered over the file is put in order in memory."""
        for file in self._files:
            file.close()
        videos, scores = np.zeros(0, np.int32), np.zeros(0)
        if self._num_lines:
            videos = np.memmap(self._paths[0], np.int32, mode="r", shape=(self._num_lines,))
            scores = np.memmap(self._paths[1], np.float64, mode="r", shape=(self._num_lines,))
        queries = np.concatenate([one for one, _ in self._runs] or [np.zeros(0, np.int64)])
        sizes = np.concatenate([size for _, size in self._runs] or [np.zeros(0, np.int64)])
        lengths = np.bincount(queries, sizes, minlength=self._num_queries).astype(np.int64)
        begins = np.cumsum(sizes) - sizes
        first = np.flatnonzero(np.diff(queries, prepend=-1))
        if len(np.unique(queries[first])) == len(first):
            starts = np.zeros(self._num_queries, np.int64)
            starts[queries[first]] = begins[first]
        else:
            order = np.argsort(np.repeat(queries, sizes), kind="stable")
            videos, scores = np.array(videos)[order], np.array(scores)[order]
            starts = np.cumsum(lengths) - lengths
        return ListedScores(starts, lengths, videos, scores, num_videos=num_videos, keep=self)


def _clean_up(files: list[Any], folder: str) -> None:
    for file in files:
        file.close()
    shutil.rmtree(folder, ignore_errors=True)


def _require_finite(part: Part, path: Path, queries: Mapping[bytes, int]) -> None:
    bad = np.flatnonzero(~np.isfinite(part.scores))
    if bad.size:
        number = int(part.queries[bad[0]])
        name = next(key for key, value in queries.items() if value == number).decode(errors="replace")
        kind = "NaN" if np.isnan(part.scores[bad[0]]) else "infinity"
        raise wrong(
            path,
            f"the query {name!r} holds {kind}",
            allowed="every score must be finite: a rank among NaN means nothing",
            to_do="leave the item out of the run, or find out why it has no score",
        )


def _decoded(names: Iterable[bytes], path: Path) -> list[str]:
    try:
        return [name.decode() for name in names]
    except UnicodeDecodeError as cause:
        raise wrong(
            path,
            f"an id is not UTF-8: {cause.object[:40]!r}",
            allowed="ids are UTF-8 text",
            to_do="save it as UTF-8",
        ) from cause


def _json_parts(path: Path, queries: Numbers, videos: Numbers) -> Iterator[Part]:
    for query, items in json_tables(as_text(unpacked(path), path), path):
        yield _part([query] * len(items), items.keys(), items.values(), path, queries, videos)


def _parquet_parts(path: Path, queries: Numbers, videos: Numbers) -> Iterator[Part]:
    for names, items, scores in parquet_columns(path):
        yield _part(names, items, scores, path, queries, videos)


def _part(
    names: Iterable[Any],
    items: Iterable[Any],
    scores: Iterable[Any],
    path: Path,
    queries: Numbers,
    videos: Numbers,
) -> Part:
    numbers = []
    for query, item, score in zip(names, items, scores, strict=True):
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise wrong(
                path,
                f"the score {score!r} of {item!r} for the query {query!r}",
                allowed="a score is a number",
                to_do="write numbers, not texts",
            )
        numbers.append((queries[str(query).encode()], videos[str(item).encode()], float(score)))
    columns = list(zip(*numbers, strict=True)) or [(), (), ()]
    return Part(
        np.array(columns[0], np.int32), np.array(columns[1], np.int32), np.array(columns[2], np.float64)
    )
