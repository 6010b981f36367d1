"""From the scores of a video's frames to the moment that matches: start, peak, end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A frame belongs to the moment while its score stays above this share of the way from the video's median to
# its peak. Our choice: the half-height width, as for any peak on a background.
HEIGHT_SHARE = 0.5


@dataclass(frozen=True)
class Moment:
    """Times in seconds from the start of the video; `score` is the peak frame's."""

    start_seconds: float
    peak_seconds: float
    end_seconds: float
    score: float


def best_moment(scores: np.ndarray, timestamps: np.ndarray, duration_seconds: float | None) -> Moment:
    """The span around the best frame.

    A sampled frame stands for the time half way to its neighbours; the first and the last reach to the ends of
    the video.

    Args:
        scores: float [num_frames].
        timestamps: float [num_frames], seconds, ascending.
    """
    peak = int(np.argmax(scores))
    background = float(np.median(scores))
    floor = background + HEIGHT_SHARE * (float(scores[peak]) - background)
    first = last = peak
    while first > 0 and scores[first - 1] >= floor:
        first -= 1
    while last < len(scores) - 1 and scores[last + 1] >= floor:
        last += 1
    times = timestamps.astype(float)
    middles = (times[1:] + times[:-1]) / 2
    end_of_video = max(duration_seconds or 0.0, float(times[-1]))
    return Moment(
        start_seconds=float(middles[first - 1]) if first > 0 else 0.0,
        peak_seconds=float(times[peak]),
        end_seconds=float(middles[last]) if last < len(scores) - 1 else end_of_video,
        score=float(scores[peak]),
    )
