"""Chains: one frame for each of several sentences, one after the other in one video, so that their scores add up best.

Exact, by dynamic programming over the frames: the best chain that ends in a frame with sentence k is that frame's score
and the best chain of k - 1 sentences that ends in an earlier frame (Viterbi's recursion, without transitions). Of all
videos at once, as arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vtrcli.moments.moment import Moment
from vtrcli.moments.rule import moment_around

MAX_CELLS = 1 << 19  # frames of videos, filled up to one length, at a time
_MILLISECONDS = 1000  # times are compared to the millisecond: float32 stamps are no better


def chain_scores(
    scores: np.ndarray,
    timestamps: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    *,
    within_seconds: float | None = None,
) -> np.ndarray:
    """The sum of scores of the best chain of each video.

    Args:
        scores: float [num_rows, num_sentences], of the frames of all videos.
        timestamps: float [num_rows], seconds, ascending within a video; without `within_seconds` not looked at.
        starts, stops: int64 [num_videos], the rows of each video.
        within_seconds: the most time from one frame of a chain to the next; None for any.

    Returns:
        float64 [num_videos]; -inf where a video holds no chain: fewer frames than sentences, or too far apart.
    """
    found = np.full(len(starts), -np.inf)
    lengths = stops - starts
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] >= scores.shape[1]]
    for videos in _batches(order, lengths):
        frames = np.arange(lengths[videos[-1]])[:, None]
        rows = np.minimum(starts[videos] + frames, stops[videos] - 1)
        inside = frames < lengths[videos]
        values = np.where(inside[..., None], scores[rows].astype(np.float64), -np.inf)
        earliest = None if within_seconds is None else _earliest(timestamps[rows], within_seconds)
        found[videos] = _best_ends(values, earliest)[-1].max(axis=0)
    return found


def best_chain(
    scores: np.ndarray, timestamps: np.ndarray, *, within_seconds: float | None = None
) -> tuple[list[int], float] | None:
    """The best chain of one video: its frames, one per sentence, and the sum of their scores; None where none is.

    Of equal ones that with the earliest last frame, then the earliest before it, and so on.

    Args:
        scores: float [num_frames, num_sentences].
        timestamps, within_seconds: as for `chain_scores`.
    """
    num_frames, num_sentences = scores.shape
    if num_frames < num_sentences:
        return None
    stamps = timestamps[:, None]
    earliest = None if within_seconds is None else _earliest(stamps, within_seconds)
    ends = [best[:, 0] for best in _best_ends(scores.astype(np.float64)[:, None, :], earliest)]
    frames = [int(np.argmax(ends[-1]))]
    total = float(ends[-1][frames[0]])
    if total == -np.inf:
        return None
    for best in reversed(ends[:-1]):
        first = 0 if earliest is None else int(earliest[frames[0], 0])
        frames.insert(0, first + int(np.argmax(best[first : frames[0]])))
    return frames, total


def chain_moments(
    scores: np.ndarray,
    timestamps: np.ndarray,
    duration_seconds: float | None,
    frames: list[int],
    *,
    shots: np.ndarray | None = None,
) -> list[Moment]:
    """The moments around the frames of a chain, in order: how far each reaches follows from its own sentence's scores.

    Two that would overlap meet half way between their frames; our choice.

    Args:
        scores: float [num_frames, num_sentences], cosines.
        timestamps, duration_seconds, shots: as for `find_moments`.
        frames: one per sentence, ascending.
    """
    moments = [
        moment_around(frame, scores[:, number], timestamps, duration_seconds, shots=shots)
        for number, frame in enumerate(frames)
    ]
    for number in range(len(moments) - 1):
        left, right = moments[number : number + 2]
        if left.end_seconds > right.start_seconds:
            middle = (left.peak_seconds + right.peak_seconds) / 2
            moments[number] = replace(left, end_seconds=middle)
            moments[number + 1] = replace(right, start_seconds=middle)
    return moments


def _batches(order: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Videos in the order of their lengths, so many at a time: none is filled up to more than twice its length."""
    first = 0
    while first < len(order):
        shortest = int(lengths[order[first]])
        stop = int(np.searchsorted(lengths[order], 2 * shortest, side="right"))
        longest = int(lengths[order[min(stop, len(order)) - 1]])
        stop = min(stop, first + max(1, MAX_CELLS // longest))
        yield order[first:stop]
        first = stop


def _best_ends(scores: np.ndarray, earliest: np.ndarray | None) -> list[np.ndarray]:
    """Per sentence float64 [num_frames, num_videos]: the best sum of a chain up to it that ends in that frame.

    Args:
        scores: float64 [num_frames, num_videos, num_sentences], -inf where a video has no frame.
        earliest: int64 [num_frames, num_videos], the first frame that may stand before; None for any.
    """
    ends = [scores[..., 0]]
    for number in range(1, scores.shape[-1]):
        before = np.full(ends[-1].shape, -np.inf)
        if earliest is None:
            np.maximum.accumulate(ends[-1][:-1], axis=0, out=before[1:])
        else:
            before = _window_maxima(ends[-1], earliest)
        ends.append(before + scores[..., number])
    return ends


def _earliest(timestamps: np.ndarray, within_seconds: float) -> np.ndarray:
    """int64 [num_frames, num_videos]: the first frame that lies at most `within_seconds` before each."""
    stamps = np.rint(timestamps.astype(np.float64) * _MILLISECONDS).astype(np.int64)
    within = min(int(within_seconds * _MILLISECONDS + 0.5), int(stamps.max(initial=0)) + 1)
    # One search in all videos, each moved behind the one before it; whole numbers, so nothing is rounded.
    num_frames, num_videos = stamps.shape
    step = int(stamps.max(initial=0)) + within + 1
    moved = (stamps + step * np.arange(num_videos)).T
    found = np.searchsorted(moved.ravel(), (moved - within).ravel()).reshape(num_videos, num_frames)
    return np.ascontiguousarray((found - num_frames * np.arange(num_videos)[:, None]).T)


def _window_maxima(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The maximum over the frames from `first` to the one before each; -inf over none. Both [num_frames, num_videos].

    By maxima over 1, 2, 4, ... frames: any window is two of them, which may overlap.
    """
    frames = np.arange(len(values))[:, None]
    sizes = frames - first
    powers = np.log2(np.maximum(sizes, 1)).astype(np.int64)
    found = np.full(values.shape, -np.inf)
    maxima, columns = values, np.arange(values.shape[1])
    for power in range(int(powers.max(initial=0)) + 1):
        rows, videos = np.nonzero((powers == power) & (sizes > 0))
        left, right = first[rows, videos], rows - 2**power
        found[rows, videos] = np.maximum(maxima[left, columns[videos]], maxima[right, columns[videos]])
        maxima = (
            np.maximum(maxima[: -(2**power)], maxima[2**power :]) if len(maxima) > 2**power else maxima[:0]
        )
    return found
