"""Predicted moments in the files that people exchange.

QVHighlights' layout has one JSON object per line: `qid`, `vid`, `pred_relevant_windows` as [start, end, score], and if
wanted `pred_saliency_scores`, one per 2 s. TVR's is one object: `video2idx`, and `VCMR`, `SVMR` or `VR` with lists of
[video, start, end, score].

What would change the metrics unseen is refused; what evaluators let pass is counted and told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vtrcli.datasets.files import Json, first_few, json_lines, read_text, wrong
from vtrcli.datasets.moments import (
    CLIP_SECONDS,
    DURATION_TOLERANCE_SECONDS,
    MomentTruth,
    Ragged,
    amount,
    as_array,
    differing_durations_note,
    num_outside,
    query_id_of,
    require_once,
    require_windows,
    unknown_layout,
    window_array,
)
from vtrcli.errors import InputError
from vtrcli.files import write_whole
from vtrcli.moments.metrics import REFERENCE, TASKS, Conventions, CorpusTruth, Task

MAX_NUMBER = 2**53  # of a video: rows hold it as a float
SAME_QUERIES = "predictions and truth must be about the same queries"
LEAVE_OUT = "predict for all of them, or pass --allow-missing to evaluate those that both have"


@dataclass(frozen=True, repr=False)
class Predictions:
    """Predicted moments of the queries of a truth, in its order.

    Attributes:
        truth: the queries that are evaluated.
        windows: float64 [total, 3], start and end in seconds and score, in the right video, as they were listed; None
            where only a corpus was searched.
        saliency: float64 [total clips], one per `CLIP_SECONDS`; None where it was not predicted.
        corpus: per task float64 [total, 4], number of a video, start, end, score; empty where no corpus was searched.
        videos: the names behind the numbers of `corpus`.
        notes: for the user.
    """

    truth: MomentTruth
    windows: Ragged | None
    saliency: Ragged | None = None
    corpus: Mapping[Task, Ragged] = field(default_factory=dict)
    videos: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def corpus_truth(self) -> CorpusTruth:
        """The right videos by the numbers of `corpus`."""
        numbers = np.array([self.videos[video_id] for video_id in self.truth.video_ids], np.int64)
        return CorpusTruth(numbers, self.truth.windows)


def read_predictions(
    path: Path,
    truth: MomentTruth,
    *,
    conventions: Conventions = REFERENCE,
    allow_missing: bool = False,
) -> Predictions:
    """A file in QVHighlights' or TVR's layout, told apart by what it holds.

    Args:
        conventions: how many windows count, for the notes.
        allow_missing: evaluate only the queries that both have.

    Raises:
        InputError: unreadable, of neither layout, other queries or other videos than the truth's, a query twice, or
            windows that are none.
    """
    text = read_text(path)
    whole = _whole(text, path)
    if whole is not None and "video2idx" in (whole.value if isinstance(whole.value, dict) else ()):
        return _read_tvr(whole, truth, conventions=conventions, allow_missing=allow_missing)
    if whole is not None and isinstance(whole.value, list):
        rows = list(whole.each("entry"))
    elif whole is None:
        rows = list(json_lines(text, path))
    else:
        raise unknown_layout(path)
    return _read_qvhighlights(rows, path, truth, conventions=conventions, allow_missing=allow_missing)


def _whole(text: str, path: Path) -> Json | None:
    """The file as one value; None where each line is one."""
    head = next((line for line in text.split("\n") if line.strip()), "")
    try:
        first = json.loads(head)
        if isinstance(first, dict) and "video2idx" not in first and not first.keys() & TASKS:
            return None
    except (ValueError, RecursionError):
        pass
    if not head.strip():
        raise wrong(path, "it is empty", allowed="one prediction per line")
    return Json.parse(text, path)


def _read_qvhighlights(
    rows: Sequence[Json],
    path: Path,
    truth: MomentTruth,
    *,
    conventions: Conventions,
    allow_missing: bool,
) -> Predictions:
    keys = rows[0].members().keys() if rows else set()
    if keys and not {"pred_relevant_windows", "qid"} & keys:
        raise unknown_layout(path)
    if "pred_relevant_windows" not in keys and {"relevant_windows", "ts"} & keys:
        raise wrong(
            path,
            "it holds a truth",
            allowed="predictions have 'pred_relevant_windows'",
            to_do="give predictions to --moments, and the truth to --truth",
        )
    given = {str(query_id_of(row["qid"])): row for row in rows}
    if len(given) < len(rows):
        require_once([query_id_of(row["qid"]) for row in rows], path, what="prediction")
    truth, notes = _common(truth, list(given), path, allow_missing=allow_missing)
    kept = [given[str(query_id)] for query_id in truth.query_ids]
    _require_videos(truth, kept, path)
    windows = Ragged.of([_scored_windows(row) for row in kept], width=3)
    notes += _window_notes(windows, truth, conventions)
    if any(len(first) == 2 for row in kept for first in row["pred_relevant_windows"].items()[:1]):
        notes.append("windows without a score are ranked in the order in which they are listed")
    saliency = _saliency(kept)
    if saliency is not None:
        notes += _saliency_notes(saliency, truth)
    notes += _duration_notes(kept, truth)
    return Predictions(truth, windows, saliency, notes=tuple(notes))


def _common(
    truth: MomentTruth, given: Sequence[str], path: Path, *, allow_missing: bool
) -> tuple[MomentTruth, list[str]]:
    """The truth of the queries that both have, and notes. Raises InputError when that is not all, or none."""
    known, there = {str(name): place for place, name in enumerate(truth.query_ids)}, set(given)
    unknown = [name for name in given if name not in known]
    missing = [name for name in known if name not in there]
    if not missing and not unknown:
        return truth, []
    parts = []
    if missing:
        parts.append(f"{len(missing):,} of the truth's {len(truth):,} queries missing: {first_few(missing)}")
    if unknown:
        parts.append(f"{amount(len(unknown), 'query')} not in the truth: {first_few(unknown)}")
    if len(missing) == len(truth):
        raise wrong(
            path, "it has no query of the truth; " + parts[-1], allowed=SAME_QUERIES, to_do="check --truth"
        )
    if not allow_missing:
        raise wrong(path, "; ".join(parts), allowed=SAME_QUERIES, to_do=LEAVE_OUT)
    kept = [place for name, place in known.items() if name in there]
    left_out = [
        f"{part}; left out, so that the numbers cannot be compared with published ones" for part in parts
    ]
    return truth.chosen(kept), left_out


def _require_videos(truth: MomentTruth, rows: Sequence[Json], path: Path) -> None:
    other = [
        (truth.query_ids[place], row.members()["vid"], truth.video_ids[place])
        for place, row in enumerate(rows)
        if "vid" in row.members() and row.members()["vid"] != truth.video_ids[place]
    ]
    if other:
        query, said, right = other[0]
        raise wrong(
            path,
            f"predictions for other videos: {len(other):,}; query {query} is about {right!r}, not {said!r}",
            allowed="the video of the query in the truth",
            to_do="check that both files are of the same split, or predict again",
        )


def _scored_windows(row: Json) -> np.ndarray:
    """float64 [n, 3]; windows without scores get such that keep their order."""
    given = row["pred_relevant_windows"]
    windows = window_array(given.value, row.path, row.what, width=(3, 2))
    require_windows(windows, row.path, row.what, may_be_empty=True)
    if windows.shape[1] == 2:
        windows = np.column_stack([windows, -np.arange(len(windows), dtype=np.float64)])
    return windows


def _saliency(rows: Sequence[Json]) -> Ragged | None:
    """None where no row has it. Raises InputError where only some have, or it is none."""
    has = [row for row in rows if "pred_saliency_scores" in row.members()]
    if not has:
        return None
    allowed = f"a list of finite numbers, one per {CLIP_SECONDS:g} s of the video"
    if len(has) < len(rows):
        raise wrong(
            has[0].path,
            f"{len(rows) - len(has):,} of {len(rows):,} predictions without 'pred_saliency_scores'",
            allowed="all of them have saliency, or none",
        )
    found = []
    for row in rows:
        given = row["pred_saliency_scores"].items()
        scores = as_array(given) if given else np.zeros(0)
        if scores.dtype.kind not in "if" or scores.ndim != 1 or not np.isfinite(scores).all():
            raise wrong(
                row.path, f"'pred_saliency_scores' of {row.what} are not finite numbers", allowed=allowed
            )
        found.append(scores.astype(np.float64))
    return Ragged.of(found)


def _window_notes(windows: Ragged, truth: MomentTruth, conventions: Conventions) -> list[str]:
    """What evaluators let pass, counted."""
    notes, counts = [], windows.counts
    most = conventions.max_windows
    if most is not None and (counts > most).any():
        num_queries, num_more = int((counts > most).sum()), int((counts - most).clip(0).sum())
        notes.append(
            f"{amount(num_more, 'window')} of {amount(num_queries, 'query')} behind the first {most}: not counted "
            "(--max-windows)"
        )
    num_empty = int((windows.values[:, 0] == windows.values[:, 1]).sum())
    if num_empty:
        notes.append(
            f"{amount(num_empty, 'empty predicted window')} (start and end the same): no match possible"
        )
    num_out = num_outside(windows, truth.durations)
    if num_out:
        notes.append(f"{amount(num_out, 'predicted window')} beyond the video: counted as given")
    num_without = int((counts == 0).sum())
    if num_without:
        notes.append(f"{amount(num_without, 'query')} without a predicted window: counted as not found")
    return notes


def _saliency_notes(saliency: Ragged, truth: MomentTruth) -> list[str]:
    if truth.saliency is None:
        return ["the truth has no saliency: highlights are not evaluated"]
    differing = int((saliency.counts != truth.saliency.counts).sum())
    if not differing:
        return []
    return [
        f"{amount(differing, 'query')} with saliency for another number of clips than the video has: what is too much "
        "is cut off, what lacks counts as 0"
    ]


def _duration_notes(rows: Sequence[Json], truth: MomentTruth) -> list[str]:
    differing = [
        truth.video_ids[place]
        for place, row in enumerate(rows)
        if isinstance(seconds := row.members().get("duration"), (int, float))
        and abs(seconds - truth.durations[place]) > DURATION_TOLERANCE_SECONDS
    ]
    return differing_durations_note(
        list(dict.fromkeys(differing)), where="in the predictions than in the truth"
    )


def _read_tvr(
    body: Json, truth: MomentTruth, *, conventions: Conventions, allow_missing: bool
) -> Predictions:
    path = body.path
    videos = {name: _number(number, body) for name, number in body["video2idx"].members().items()}
    tasks = [task for task in TASKS if task in body.members()]
    if not tasks:
        raise unknown_layout(path)
    given: dict[Task, dict[str, Json]] = {}
    for task in tasks:
        rows = list(body[task].each(f"{task} entry"))
        names = [query_id_of(row["desc_id"]) for row in rows]
        require_once(names, path, what=f"{task} prediction")
        given[task] = dict(zip(map(str, names), rows, strict=True))
    for task in tasks[1:]:
        if given[task].keys() != given[tasks[0]].keys():
            raise wrong(
                path,
                f"{tasks[0]} and {task} are about other queries",
                allowed="all tasks have the same queries",
            )
    truth, notes = _common(truth, list(given[tasks[0]]), path, allow_missing=allow_missing)
    lacking = [video_id for video_id in dict.fromkeys(truth.video_ids) if video_id not in videos]
    if lacking:
        raise wrong(
            path,
            f"{amount(len(lacking), 'video')} of the truth not in 'video2idx': {first_few(lacking)}",
            allowed="it numbers every video of the corpus, the right ones among them",
        )
    corpus = {task: _corpus_rows(task, rows, truth) for task, rows in given.items()}
    windows = None
    if "SVMR" in corpus:
        windows = _windows_in_right_video(corpus["SVMR"], videos, truth)
        notes += _window_notes(windows, truth, conventions)
    return Predictions(truth, windows, corpus=corpus, videos=videos, notes=tuple(notes))


def _number(value: object, body: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_NUMBER:
        raise wrong(body.path, f"'video2idx' holds {value!r}", allowed="name of a video -> its whole number")
    return value


def _corpus_rows(task: Task, given: Mapping[str, Json], truth: MomentTruth) -> Ragged:
    """float64 [total, 4]; a missing score keeps the order."""
    found = []
    for query_id in truth.query_ids:
        row = given[str(query_id)]
        rows = window_array(row["predictions"].value, row.path, row.what, width=(4, 3))
        if rows.shape[1] == 3:
            rows = np.column_stack([rows, -np.arange(len(rows), dtype=np.float64)])
        if task != "VR":
            require_windows(rows[:, 1:], row.path, row.what, may_be_empty=True)
        found.append(rows)
    return Ragged.of(found, width=4)


def _windows_in_right_video(rows: Ragged, videos: Mapping[str, int], truth: MomentTruth) -> Ragged:
    numbers = np.array([videos[video_id] for video_id in truth.video_ids], np.int64)
    right = rows.where(rows.values[:, 0] == numbers[rows.owners])
    return Ragged(right.values[:, 1:], right.offsets)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write windows and saliency one query per line in QVHighlights' layout; or, to a file that ends in .json, all
    tasks in TVR's, SVMR alone where no corpus was searched.

    Raises:
        InputError: it cannot be written, or there are no windows in the right video for QVHighlights' layout.
    """
    if predictions.windows is None and path.suffix != ".json":
        raise InputError(
            f"{path}: there are no windows in the right video (SVMR)",
            allowed="QVHighlights' layout has those alone",
            to_do=f"write all tasks to {path.with_suffix('.json')}",
        )
    body = _tvr_lines(predictions) if path.suffix == ".json" else _qvhighlights_lines(predictions)
    write_whole(path, (line.encode() for line in body), error=InputError)


def _qvhighlights_lines(predictions: Predictions) -> Iterator[str]:
    truth, windows = predictions.truth, predictions.windows
    for place, query_id in enumerate(truth.query_ids):
        row: dict[str, object] = {
            "qid": query_id,
            "query": truth.texts[place],
            "vid": truth.video_ids[place],
            "pred_relevant_windows": [] if windows is None else windows[place].tolist(),
        }
        if predictions.saliency is not None:
            row["pred_saliency_scores"] = predictions.saliency[place].tolist()
        yield json.dumps(row) + "\n"


def _tvr_lines(predictions: Predictions) -> Iterator[str]:
    truth, tasks = predictions.truth, dict(predictions.corpus)
    videos = predictions.videos or {
        name: number for number, name in enumerate(dict.fromkeys(truth.video_ids))
    }
    if not tasks and predictions.windows is not None:
        numbers = [videos[video_id] for video_id in truth.video_ids]
        tasks["SVMR"] = predictions.windows.numbered(numbers)
    yield f'{{"video2idx": {json.dumps(dict(videos))}'
    for task, rows in tasks.items():
        yield f',\n"{task}": ['
        for place, (query_id, text) in enumerate(zip(truth.query_ids, truth.texts, strict=True)):
            found = [[int(video), *rest] for video, *rest in rows[place].tolist()]
            entry = {"desc_id": query_id, "desc": text, "predictions": found}
            yield f"{',' if place else ''}\n{json.dumps(entry)}"
        yield "]"
    yield "}\n"
