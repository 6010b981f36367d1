"""Moments that answer queries, as annotations give them: one layout a function, `MomentTruth` is what all become.

Read line by line with one JSON object each: QVHighlights' layout (`qid`, `query`, `vid`, `duration`,
`relevant_windows`, and with highlights `relevant_clip_ids` and `saliency_scores`), in which most data sets are passed
around today, and TVR's (`desc_id`, `desc`, `vid_name`, `duration`, `ts`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vtrcli.datasets.files import Json, first_few, json_lines, read_text, wrong
from vtrcli.errors import InputError

CLIP_SECONDS = 2.0  # of what one saliency score stands for, in QVHighlights
# Durations are given in whole seconds, frames or by a container: more than this is another video, or another cut of it.
DURATION_TOLERANCE_SECONDS = 1.0
MAX_DURATION_SECONDS = 1e6  # eleven days
MAX_CLIPS = 20_000_000  # over all queries; QVHighlights' val split has 0.1 million
MAX_PADDED = 200_000_000  # 1.6 GB
MAX_ANNOTATORS = 10  # QVHighlights has three
WINDOW_FORM = "a window is [start, end] in seconds, the start first"
QueryId = int | str


@dataclass(frozen=True)
class Ragged:
    """Some rows per query: `values` [total, ...] one query after the other, `offsets` int64 [num_queries + 1]."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[np.ndarray], *, width: int | None = None) -> Ragged:
        """From one float64 [n] or [n, width] per query."""
        empty = np.zeros((0,) if width is None else (0, width))
        return cls(np.concatenate([empty, *rows]), np.cumsum([0, *map(len, rows)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> np.ndarray:
        return self.values[self.offsets[query] : self.offsets[query + 1]]

    @property
    def counts(self) -> np.ndarray:
        """int64 [num_queries]: how many rows each query has."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """int64 [total]: the query of each row."""
        return np.repeat(np.arange(len(self)), self.counts)

    def where(self, mask: np.ndarray) -> Ragged:
        """The rows that bool [total] marks; as many queries."""
        counts = np.bincount(self.owners[mask], minlength=len(self))
        return Ragged(self.values[mask], np.concatenate([[0], np.cumsum(counts)]))

    def numbered(self, numbers: Sequence[int]) -> Ragged:
        """Rows of [total, width] with their query's number in front."""
        return Ragged(np.column_stack([np.repeat(numbers, self.counts), self.values]), self.offsets)

    def padded(self, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The first `most` rows of each query, zeros behind them: [num_queries, longest, ...]; and bool [num_queries,
        longest], what is a row.

        Raises:
            InputError: more numbers than MAX_PADDED, by one query with very many rows.
        """
        counts = self.counts
        longest = int(counts.max(initial=0))
        longest = longest if most is None else min(longest, most)
        if len(self) * longest * math.prod(self.values.shape[1:]) > MAX_PADDED:
            raise InputError(
                f"{len(self):,} queries, one of them with {longest:,} windows or clips",
                allowed=f"at most {MAX_PADDED:,} numbers, counted as if each query had as many as that one",
                to_do="check that query's duration and scores",
            )
        mask = np.arange(longest) < counts[:, None]
        filled = np.zeros((len(self), longest, *self.values.shape[1:]), self.values.dtype)
        filled[mask] = self.values[(self.offsets[:-1, None] + np.arange(longest))[mask]]
        return filled, mask

    def chosen(self, queries: Sequence[int]) -> Ragged:
        """Those of some queries, in that order."""
        width = self.values.shape[1] if self.values.ndim > 1 else None
        return Ragged.of([self[query] for query in queries], width=width)


@dataclass(frozen=True, repr=False)
class MomentTruth:
    """Queries, each about one video, with the windows that answer them.

    Attributes:
        query_ids: as the file has them; unique as text.
        video_ids: per query.
        durations: float64 [num_queries], seconds of the query's video; NaN where the file does not say.
        windows: float64 [total, 2], start and end in seconds, start before end.
        saliency: float64 [total clips, num_annotators], how well each clip of `CLIP_SECONDS` of the video fits the
            query (QVHighlights: 1 to 4; 0 outside the windows); None where the file has none.
        notes: for the user: what was odd in the file, with counts.
    """

    query_ids: tuple[QueryId, ...]
    texts: tuple[str, ...]
    video_ids: tuple[str, ...]
    durations: np.ndarray
    windows: Ragged
    saliency: Ragged | None = None
    notes: tuple[str, ...] = ()
    source: str = field(default="the truth", compare=False)

    def __repr__(self) -> str:
        return f"<MomentTruth: {len(self):,} queries about {len(set(self.video_ids)):,} videos>"

    def __len__(self) -> int:
        return len(self.query_ids)

    def chosen(self, queries: Sequence[int]) -> MomentTruth:
        """Some of the queries, in that order."""
        return replace(
            self,
            query_ids=tuple(self.query_ids[query] for query in queries),
            texts=tuple(self.texts[query] for query in queries),
            video_ids=tuple(self.video_ids[query] for query in queries),
            durations=self.durations[list(queries)],
            windows=self.windows.chosen(queries),
            saliency=None if self.saliency is None else self.saliency.chosen(queries),
        )

    def video_numbers(self) -> np.ndarray:
        """int64 [num_queries], equal for queries about one video."""
        number = {video_id: place for place, video_id in enumerate(dict.fromkeys(self.video_ids))}
        return np.array([number[video_id] for video_id in self.video_ids], np.int64)


@dataclass(frozen=True)
class MomentRow:
    """One query as its layout has it; what all layouts share is checked when they become a truth.

    `saliency`: of the clips that `clip_ids` numbers, one row of scores per clip.
    """

    query_id: QueryId
    text: str
    video_id: str
    duration: float | None
    windows: object
    what: str
    clip_ids: Sequence[int] = ()
    saliency: object = None


def read_moment_truth(path: Path) -> MomentTruth:
    """A file of one JSON object per line, in QVHighlights' or TVR's layout, told apart by their keys.

    Raises:
        InputError: unreadable, a row of neither layout, a query twice, or windows that are none.
    """
    rows = []
    for entry in json_lines(read_text(path), path):
        if "pred_relevant_windows" in entry.members() and "relevant_windows" not in entry.members():
            raise wrong(
                path,
                "it holds predictions",
                allowed="a truth has 'relevant_windows', or 'ts' in TVR's layout",
                to_do="give predictions to --moments, and the truth to --truth",
            )
        rows.append(_tvr_row(entry) if "vid_name" in entry.members() else _qvhighlights_row(entry))
    return build_truth(rows, path)


def _qvhighlights_row(entry: Json) -> MomentRow:
    members = entry.members()
    clip_ids = entry["relevant_clip_ids"].items() if "saliency_scores" in members else []
    for clip in clip_ids:
        if not isinstance(clip, int) or not 0 <= clip < 10**6:
            raise wrong(
                entry.path,
                f"a clip of {entry.what} has the number {clip!r}",
                allowed=f"clips of {CLIP_SECONDS:g} s are numbered from 0",
            )
    return MomentRow(
        query_id_of(entry["qid"]),
        entry["query"].text(),
        entry["vid"].string(),
        _duration_of(entry),
        members.get("relevant_windows"),
        entry.what,
        clip_ids,
        members.get("saliency_scores"),
    )


def _tvr_row(entry: Json) -> MomentRow:
    windows = entry.members().get("ts")
    return MomentRow(
        query_id_of(entry["desc_id"]),
        entry["desc"].text(),
        entry["vid_name"].string(),
        _duration_of(entry),
        None if windows is None else [windows],
        entry.what,
    )


def query_id_of(value: Json) -> QueryId:
    """A whole number or a text. Raises InputError for anything else."""
    if isinstance(value.value, int) and not isinstance(value.value, bool):
        return value.value
    return value.string()


def _duration_of(entry: Json) -> float | None:
    seconds = entry.members().get("duration")
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise _no_duration(seconds, entry.path, entry.what)
    return float(seconds)


def _no_duration(value: object, path: Path, what: str) -> InputError:
    return wrong(
        path,
        f"'duration' of {what} is {value!r}",
        allowed=f"seconds, a number above 0, up to {MAX_DURATION_SECONDS:,.0f}",
    )


def build_truth(rows: Sequence[MomentRow], path: Path) -> MomentTruth:
    """Put the rows of a file together.

    Raises:
        InputError: no rows, a query twice, windows that are none, or no window at all.
    """
    if not rows:
        raise wrong(path, "no query in it", allowed="one query per line, with the windows that answer it")
    require_once([row.query_id for row in rows], path)
    without = [row for row in rows if not row.windows]
    if len(without) == len(rows):
        raise wrong(
            path,
            f"none of its {len(rows):,} queries has a window",
            allowed="a truth says which windows answer each query",
            to_do="take a split whose truth is published: that of QVHighlights' test split is not",
        )
    kept = [row for row in rows if row.windows]
    windows = [window_array(row.windows, path, row.what, width=(2,)) for row in kept]
    for row, spans in zip(kept, windows, strict=True):
        require_windows(spans, path, row.what, may_be_empty=False)
        if row.duration is not None and not 0 < row.duration <= MAX_DURATION_SECONDS:
            raise _no_duration(row.duration, path, row.what)
    durations = np.array([np.nan if row.duration is None else row.duration for row in kept])
    truth = MomentTruth(
        query_ids=tuple(row.query_id for row in kept),
        texts=tuple(row.text for row in kept),
        video_ids=tuple(row.video_id for row in kept),
        durations=durations,
        windows=Ragged.of(windows, width=2),
        saliency=_saliency(kept, path),
        source=str(path),
    )
    notes = [*_without_windows(without), *_outside(truth), *_differing_durations(truth)]
    return replace(truth, notes=tuple(notes))


def amount(number: int, noun: str) -> str:
    """1 query, 1,550 queries."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def require_once(query_ids: Iterable[QueryId], path: Path, *, what: str = "query") -> None:
    """Raises InputError when a query is there twice: one of the two would be lost."""
    seen: set[str] = set()
    twice = [str(name) for name in query_ids if str(name) in seen or seen.add(str(name))]  # type: ignore[func-returns-value]
    if twice:
        raise wrong(
            path,
            f"{amount(len(twice), what)} there twice: {first_few(twice)}",
            allowed="each query once",
            to_do="delete the rows that are not meant",
        )


def as_array(given: object) -> np.ndarray:
    """Of the lists in a file; without numbers in it where they are of several lengths."""
    try:
        return np.array(given)
    except ValueError:
        return np.array(None)


def window_array(given: object, path: Path, what: str, *, width: tuple[int, ...]) -> np.ndarray:
    """Windows as float64 [n, one of `width`].

    Raises:
        InputError: not a list of lists of so many finite numbers; texts are not taken for numbers.
    """
    array = as_array(given)
    if isinstance(given, list) and not given:
        return np.zeros((0, width[0]))
    form = " or ".join(
        {2: "[start, end]", 3: "[start, end, score]", 4: "[video, start, end, score]"}[n] for n in width
    )
    allowed = f"a list of {form}, numbers in seconds"
    if array.dtype.kind == "U":
        raise wrong(path, f"the windows of {what} hold text instead of numbers", allowed=allowed)
    if array.dtype.kind not in "if" or array.ndim != 2 or array.shape[1] not in width:
        raise wrong(path, f"the windows of {what} are no list of {form}", allowed=allowed)
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise wrong(path, f"a window of {what} holds NaN or infinity", allowed=allowed)
    return array


def require_windows(windows: np.ndarray, path: Path, what: str, *, may_be_empty: bool) -> None:
    """Raises InputError for a window [n, 2 or more] that ends before it starts; for an empty one unless that may be."""
    spans = windows[:, 1] - windows[:, 0]
    is_bad = spans < 0 if may_be_empty else spans <= 0
    if is_bad.any():
        place = int(np.flatnonzero(is_bad)[0])
        start, end = windows[place, :2]
        how = "is empty" if start == end else "ends before it starts"
        raise wrong(
            path,
            f"window {place + 1} of {what} {how}: {start:g} to {end:g}",
            allowed=WINDOW_FORM,
            to_do="mend the file; centre and width are not start and end",
        )


def _saliency(rows: Sequence[MomentRow], path: Path) -> Ragged | None:
    """Scores of every clip of the video; None unless all rows have them."""
    if any(row.saliency is None or row.duration is None for row in rows):
        return None
    scores, width, room = [], 0, MAX_CLIPS
    for row in rows:
        given = as_array(row.saliency)
        if given.dtype.kind not in "if" or given.ndim != 2 or len(given) != len(row.clip_ids):
            raise wrong(
                path,
                f"'saliency_scores' of {row.what} do not fit its {len(row.clip_ids)} clips",
                allowed="one list of the annotators' scores per clip of 'relevant_clip_ids'",
            )
        width = width or given.shape[1]
        if given.shape[1] > MAX_ANNOTATORS:
            raise wrong(
                path,
                f"'saliency_scores' of {row.what} have {given.shape[1]:,} scores per clip",
                allowed=f"one per annotator, of whom there are at most {MAX_ANNOTATORS}",
            )
        if given.shape[1] != width or not np.isfinite(given).all():
            raise wrong(
                path,
                f"'saliency_scores' of {row.what} are not {width} finite numbers per clip",
                allowed="every clip is scored by the same number of annotators",
            )
        num_clips = max(int((row.duration or 0) / CLIP_SECONDS), max(row.clip_ids, default=-1) + 1)
        room -= num_clips
        if room < 0:
            raise wrong(path, "too many clips", allowed=f"{MAX_CLIPS:,} clips over all queries")
        full = np.zeros((num_clips, width))
        full[list(row.clip_ids)] = given
        scores.append(full)
    return Ragged.of(scores, width=width)


def _without_windows(rows: Sequence[MomentRow]) -> list[str]:
    if not rows:
        return []
    names = first_few([str(row.query_id) for row in rows], most=3)
    return [f"{amount(len(rows), 'query')} of the truth without a window, left out: {names}"]


def _outside(truth: MomentTruth) -> list[str]:
    num = num_outside(truth.windows, truth.durations)
    return [f"{amount(num, 'window')} of the truth beyond the video: counted as given"] if num else []


def num_outside(windows: Ragged, durations: np.ndarray) -> int:
    """How many windows begin before 0 or end after their video; unknown durations pass."""
    ends = np.repeat(np.where(np.isnan(durations), np.inf, durations), windows.counts)
    is_out = (windows.values[:, 0] < 0) | (windows.values[:, 1] > ends + 1e-6)
    return int(np.count_nonzero(is_out))


def _differing_durations(truth: MomentTruth) -> list[str]:
    shortest: dict[str, float] = {}
    longest: dict[str, float] = {}
    for video_id, seconds in zip(truth.video_ids, truth.durations.tolist(), strict=True):
        shortest[video_id] = min(seconds, shortest.get(video_id, seconds))
        longest[video_id] = max(seconds, longest.get(video_id, seconds))
    differing = [name for name in shortest if longest[name] - shortest[name] > DURATION_TOLERANCE_SECONDS]
    return differing_durations_note(differing, where="in the truth's rows")


def differing_durations_note(video_ids: Sequence[str], *, where: str) -> list[str]:
    """A sentence for the user, or none."""
    if not video_ids:
        return []
    return [
        f"{amount(len(video_ids), 'video')} of another duration {where} (by more than "
        f"{DURATION_TOLERANCE_SECONDS:g} s): "
        f"{first_few(video_ids, most=3)}; is it the same cut?"
    ]


def unknown_layout(path: Path) -> InputError:
    """The error about a file that is in no layout of moments."""
    return wrong(
        path,
        "neither QVHighlights' nor TVR's layout",
        allowed="one JSON object per line with qid, query, vid and windows; or one object with video2idx and VCMR, "
        "SVMR or VR",
        to_do="see docs/moments.md for both layouts",
    )
