"""The span around the best frame, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vtrcli.retrieval.moments import best_moment


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # frames at 1, 3, 5, 7, 9 s of a 10 s video: (start, peak, end)
        ([0.1, 0.1, 0.9, 0.1, 0.1], (4.0, 5.0, 6.0)),
        ([0.1, 0.8, 0.9, 0.1, 0.1], (2.0, 5.0, 6.0)),
        ([0.9, 0.1, 0.1, 0.1, 0.8], (0.0, 1.0, 2.0)),
        ([0.1, 0.1, 0.1, 0.1, 0.9], (8.0, 9.0, 10.0)),
        ([0.5, 0.5, 0.5, 0.5, 0.5], (0.0, 1.0, 10.0)),
    ],
)
def test_the_moment_reaches_half_way_to_the_first_frame_below_half_height(
    scores: list[float], expected: tuple[float, float, float]
) -> None:
    moment = best_moment(np.array(scores), np.array([1.0, 3, 5, 7, 9]), 10.0)
    assert (moment.start_seconds, moment.peak_seconds, moment.end_seconds) == expected
    assert moment.score == max(scores)


def test_a_single_frame_stands_for_the_whole_video() -> None:
    moment = best_moment(np.array([0.3]), np.array([0.0]), 4.0)
    assert (moment.start_seconds, moment.peak_seconds, moment.end_seconds) == (0.0, 0.0, 4.0)


def test_an_unknown_duration_ends_at_the_last_frame() -> None:
    assert best_moment(np.array([0.3, 0.3]), np.array([0.0, 2.0]), None).end_seconds == 2.0
