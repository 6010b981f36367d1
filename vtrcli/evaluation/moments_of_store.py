"""Moments that a store answers with, for the queries of a data set: the same frame scores and the same rule as search.

In the right video: ten windows and a saliency per 2 s for each query. Over all videos of the truth, where that is asked
for: the best moments, and the best videos, as `vtr search --moments` and `vtr search` find them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtrcli.datasets.files import first_few
from vtrcli.datasets.match_store import JoinedSplit, join_with_store, require_complete
from vtrcli.datasets.moments import (
    CLIP_SECONDS,
    DURATION_TOLERANCE_SECONDS,
    MomentTruth,
    Ragged,
    amount,
    differing_durations_note,
)
from vtrcli.datasets.split import Caption, Split
from vtrcli.evaluation.moments import MomentInputs
from vtrcli.evaluation.protocol import system_of_store
from vtrcli.moments.files import Predictions
from vtrcli.moments.metrics import CORPUS_AT, Task
from vtrcli.moments.moment import Moment
from vtrcli.moments.rule import find_moments, scores_and_shots
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.store.texts import TextRows
from vtrcli.text.streams import STREAMS

if TYPE_CHECKING:
    from vtrcli.text.streams import TaggerName

NUM_WINDOWS = 10  # as many as QVHighlights' evaluator looks at
QUERIES_AT_ONCE = 1024
# A file of predictions is read by others: tenths of a millisecond, and scores far finer than float16's features.
_WINDOW_DECIMALS = (4, 4, 6)


def predict_from_store(
    store: Path,
    truth: MomentTruth,
    *,
    dataset: str | None = None,
    split: str | None = None,
    run: Path | None = None,
    corpus: bool = False,
    tagger: TaggerName = "hanta",
    max_tokens: int | None = None,
    device: str = "auto",
    allow_missing: bool = False,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> MomentInputs:
    """The queries of a truth, answered by the frames of a store.

    Queries that are not cached yet are encoded first, up to as many tokens as the backbone reads (unless `max_tokens`),
    as a search does.

    Args:
        dataset, split: what the truth is called.
        corpus: also search all videos of the truth: VCMR, VR, and SVMR beside them.
        run: a trained run that ranks the videos of the corpus; None: plain CLIP, by the best frame.

    Raises:
        InputError: videos that the store lacks (unless `allow_missing`).
        StoreError, WeightsError: store, run or weights; a run that does not fit the store.
    """
    from vtrcli.text.cache import cache_texts, open_text_cache, unread
    from vtrcli.text.streams import load_tagger

    opened = FeatureStore(store)
    joined = join_queries(truth, opened)
    require_complete(joined, allow_missing=allow_missing)
    kept = [int(caption.caption_id) for caption in joined.captions]
    store_ids = tuple(caption.video_id for caption in joined.captions)
    truth = truth if len(kept) == len(truth) else truth.chosen(kept)
    tagger = "none" if run is None else tagger  # frames are compared with whole captions; a run may need more
    cache_texts(opened, truth.texts, tagger=tagger, max_tokens=max_tokens, device=device)
    tagger_id = load_tagger(tagger).id
    cache = open_text_cache(opened, tagger_id=tagger_id, max_tokens=max_tokens)
    rows, num_cut = cache.rows(truth.texts), cache.num_cut(truth.texts)
    queries = unit_rows(rows.features[:, STREAMS.index("fusion")])
    steps = _Steps(len(joined.video_ids), num_queries=len(truth) if corpus else 0, on_progress=on_progress)
    windows, saliency = _in_right_video(opened, truth, store_ids, queries, steps)
    tasks: dict[Task, Ragged] = {}
    if corpus:
        by_run = None if run is None else _scores_of_run(run, opened, joined, rows, tagger, device)
        moments, videos = _in_corpus(opened, joined, queries, by_run, steps)
        tasks = {"VCMR": moments, "SVMR": _with_videos(windows, joined, store_ids), "VR": videos}
    names = {video_id: number for number, video_id in enumerate(dict.fromkeys(truth.video_ids))}
    return MomentInputs(
        Predictions(truth, windows, saliency, corpus=tasks, videos=names),
        model="zero-shot, frames" if run is None else f"zero-shot, frames; videos ranked by {run}",
        dataset=dataset,
        split=split,
        store=opened,
        store_ids=store_ids,
        system=_system(opened, run, tagger=tagger_id, max_tokens=max_tokens),
        notes=(
            *_missing_note(joined),
            *unread(truth.texts, opened.config.backbone, num_cut=num_cut, limit=max_tokens).notes,
            *_durations_note(opened, truth, store_ids),
        ),
    )


def _system(store: FeatureStore, run: Path | None, *, tagger: str, max_tokens: int | None) -> dict[str, Any]:
    """What answers; `head` is what ranks the videos of a corpus."""
    from vtrcli.model.runs import read_config

    config = None if run is None else read_config(run)
    found = system_of_store(store.config, config, tagger=tagger)
    return {**found, "head": "best frame" if config is None else found["head"], "max_tokens": max_tokens}


class _Steps:
    """What is done of all that is to do: each video once, and for a corpus twice more per block of queries."""

    def __init__(self, num_videos: int, *, num_queries: int, on_progress: Callable[[int, int], None]) -> None:
        num_blocks = -(-num_queries // QUERIES_AT_ONCE)
        self._num_done, self._total, self._tell = 0, num_videos * (1 + 2 * num_blocks), on_progress

    def done(self, number: int = 1) -> None:
        self._num_done += number
        self._tell(self._num_done, self._total)


def join_queries(truth: MomentTruth, store: FeatureStore) -> JoinedSplit:
    """The truth's videos in the store; a caption's id is its query's number.

    Raises:
        InputError: a name fits two stored videos, or two names fit one.
    """
    captions = tuple(
        Caption(text, video_id, str(number))
        for number, (text, video_id) in enumerate(zip(truth.texts, truth.video_ids, strict=True))
    )
    videos = tuple(dict.fromkeys(truth.video_ids))
    return join_with_store(Split("moments", videos, captions), store.videos, paths=store.paths)


def _in_right_video(
    store: FeatureStore,
    truth: MomentTruth,
    store_ids: Sequence[str],
    queries: np.ndarray,
    steps: _Steps,
) -> tuple[Ragged, Ragged]:
    """Windows float64 [total, 3] and saliency float64 [total clips] of each query, in its video."""
    windows: list[np.ndarray] = [np.zeros((0, 3))] * len(truth)
    saliency: list[np.ndarray] = [np.zeros(0)] * len(truth)
    for video_id, places in _grouped(store_ids).items():
        video = _Asked(store, video_id, queries[places])
        for place, values in zip(places, video.scores, strict=True):
            found = video.moments(values, num_windows=NUM_WINDOWS)
            windows[place] = _rounded([(m.start_seconds, m.end_seconds, m.score) for m in found])
            length = truth.durations[place]
            seconds = video.seconds if np.isnan(length) else float(length)
            saliency[place] = clip_means(values, video.times, seconds)
        steps.done()
    return Ragged.of(windows, width=3), Ragged.of(saliency)


def _rounded(rows: Sequence[tuple[float, ...]]) -> np.ndarray:
    table = np.array(rows, np.float64).reshape(-1, 3)
    return np.stack([table[:, place].round(digits) for place, digits in enumerate(_WINDOW_DECIMALS)], axis=1)


def _grouped(store_ids: Sequence[str]) -> dict[str, list[int]]:
    """Video id -> the numbers of the queries about it."""
    groups: dict[str, list[int]] = {}
    for place, video_id in enumerate(store_ids):
        groups.setdefault(video_id, []).append(place)
    return groups


def clip_means(scores: np.ndarray, times: np.ndarray, seconds: float) -> np.ndarray:
    """Frame scores as saliency: float64 [num_clips], one per whole `CLIP_SECONDS` of the video.

    A clip has the mean of its frames; one without a frame what lies between its neighbours at its middle. Our choice.
    """
    num_clips = max(1, int(seconds / CLIP_SECONDS))
    clips = np.minimum((times / CLIP_SECONDS).astype(np.int64), num_clips - 1)
    sums = np.bincount(clips, weights=scores, minlength=num_clips)
    counts = np.bincount(clips, minlength=num_clips)
    between = np.interp((np.arange(num_clips) + 0.5) * CLIP_SECONDS, times, scores)
    return np.where(counts > 0, sums / np.maximum(counts, 1), between).round(6)


class _Asked:
    """One video and some queries: `scores` float64 [num_queries, num_frames], `times` float64 [num_frames]."""

    def __init__(self, store: FeatureStore, video_id: str, queries: np.ndarray) -> None:
        self.times = store.timestamps(video_id).astype(np.float64)
        self._duration = store.videos[video_id].record.duration_seconds
        scores, self._shots = scores_and_shots(store.features(video_id), self.times, queries)
        self.scores = scores.T.astype(np.float64)

    @property
    def seconds(self) -> float:
        return self._duration or float(self.times[-1])

    def moments(self, scores: np.ndarray, *, num_windows: int | None) -> list[Moment]:
        return find_moments(scores, self.times, self._duration, shots=self._shots, num_windows=num_windows)


def _with_videos(windows: Ragged, joined: JoinedSplit, store_ids: Sequence[str]) -> Ragged:
    """Windows with the number of their video in front, float64 [total, 4]."""
    numbers = {video_id: number for number, video_id in enumerate(joined.video_ids)}
    return windows.numbered([numbers[video_id] for video_id in store_ids])


def _scores_of_run(
    run: Path, store: FeatureStore, joined: JoinedSplit, rows: TextRows, tagger: TaggerName, device: str
) -> np.ndarray:
    """float32 [num_queries, num_videos], what a run ranks the videos by."""
    from vtrcli.evaluation.inputs import model_scores, require_tagger
    from vtrcli.model.runs import TrainedRun
    from vtrcli.text.streams import load_tagger

    model = TrainedRun(run, device=device)
    model.require_fit(store)
    require_tagger(model, load_tagger(tagger).id, run)
    source = model_scores(model, model.texts(rows), model.videos(store, joined.video_ids))
    num_queries, num_videos = source.shape
    return np.asarray(source.block(slice(0, num_queries), slice(0, num_videos)))


def _in_corpus(
    store: FeatureStore,
    joined: JoinedSplit,
    queries: np.ndarray,
    by_run: np.ndarray | None,
    steps: _Steps,
) -> tuple[Ragged, Ragged]:
    """The best moments and the best videos of all, float64 [total, 4] each; the moments of the best videos by the
    frames' scores, since no moment is better than its best frame."""
    moments: list[np.ndarray] = []
    videos: list[np.ndarray] = []
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(first, first + QUERIES_AT_ONCE)
        scores = _best_frames(store, joined, queries[part], steps) if by_run is None else by_run[part]
        best = np.argsort(-scores, axis=1, kind="stable")[:, : max(CORPUS_AT)]
        values = np.take_along_axis(scores, best, axis=1).astype(np.float64)
        nothing = np.zeros_like(values)
        videos += list(np.stack([best, nothing, nothing, values.round(6)], axis=2))
        moments += _best_moments(store, joined, queries[part], best, steps)
    return Ragged.of(moments, width=4), Ragged.of(videos, width=4)


def _best_frames(store: FeatureStore, joined: JoinedSplit, queries: np.ndarray, steps: _Steps) -> np.ndarray:
    """float64 [num_queries, num_videos]: what each video's best frame scores."""
    scores = np.empty((len(queries), len(joined.video_ids)))
    for number, video_id in enumerate(joined.video_ids):
        scores[:, number] = _Asked(store, video_id, queries).scores.max(axis=1)
        steps.done()
    return scores


def _best_moments(
    store: FeatureStore, joined: JoinedSplit, queries: np.ndarray, best: np.ndarray, steps: _Steps
) -> list[np.ndarray]:
    """Per query float64 [n, 4], video, start, end, score."""
    found: list[list[tuple[float, ...]]] = [[] for _ in queries]
    for number, asked in _askers(best):
        video = _Asked(store, joined.video_ids[number], queries[asked])
        for query, values in zip(asked, video.scores, strict=True):
            found[query] += [
                (number, m.start_seconds, m.end_seconds, m.score)
                for m in video.moments(values, num_windows=None)
            ]
        steps.done()
    tables = []
    for rows in found:
        table = np.array(rows, np.float64).reshape(-1, 4)
        table[:, 1:] = _rounded(table[:, 1:].tolist())
        tables.append(table[np.argsort(-table[:, 3], kind="stable")[: max(CORPUS_AT)]])
    return tables


def _askers(best: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Each video that is among the best of some queries, and theirs."""
    for number in np.unique(best).tolist():
        yield number, np.flatnonzero((best == number).any(axis=1)).tolist()


def _missing_note(joined: JoinedSplit) -> list[str]:
    if not joined.missing_videos:
        return []
    return [
        f"{amount(len(joined.missing_videos), 'video')} with {joined.num_missing_captions:,} queries not in the store, "
        f"left out ({first_few(joined.missing_videos, most=3)}): the numbers cannot be compared with published ones"
    ]


def _durations_note(store: FeatureStore, truth: MomentTruth, store_ids: Sequence[str]) -> list[str]:
    """Videos that are longer or shorter in the store than in the truth."""
    differing: dict[str, None] = {}
    for video_id, store_id, seconds in zip(truth.video_ids, store_ids, truth.durations.tolist(), strict=True):
        stored = store.videos[store_id].record.duration_seconds
        if stored is not None and abs(stored - seconds) > DURATION_TOLERANCE_SECONDS:
            differing[video_id] = None
    return differing_durations_note(list(differing), where="in the store than in the truth")
