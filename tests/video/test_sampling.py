"""Sampling: the times that a policy means, and how a store keeps it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import StoreError, UsageError
from vtrcli.video.sampling import Sampling, target_timestamps

samplings = st.one_of(
    st.builds(Sampling, num_frames=st.integers(1, 50), max_frames=st.none() | st.integers(1, 30)),
    st.builds(
        Sampling,
        fps=st.floats(0.01, 60),
        min_frames=st.integers(1, 20),
        max_frames=st.none() | st.integers(1, 30),
    ),
)


@given(samplings, st.floats(0.01, 500))
def test_times_increase_evenly_inside_the_video(sampling: Sampling, duration_seconds: float) -> None:
    times = target_timestamps(sampling, duration_seconds)
    assert times.dtype == np.float64 and times.ndim == 1 and len(times) >= 1
    assert times[0] >= 0 and times[-1] < duration_seconds
    if len(times) > 1:
        assert np.allclose(np.diff(times), times[1] - times[0]) and times[1] > times[0]
    if sampling.max_frames is not None:
        assert len(times) <= sampling.max_frames


@given(samplings)
def test_json_round_trip(sampling: Sampling) -> None:
    again = Sampling.from_json(json.loads(json.dumps(sampling.to_json())))
    assert again.to_json() == sampling.to_json()
    assert again.describe() == sampling.describe()


@pytest.mark.parametrize(
    ("sampling", "duration_seconds", "expected"),
    [
        (Sampling(num_frames=4), 8.0, [1, 3, 5, 7]),
        (Sampling(fps=1.0, min_frames=2), 3.5, [0, 1, 2, 3]),
        (Sampling(fps=1.0, min_frames=2), 3.0, [0, 1, 2]),
        (Sampling(fps=0.1, min_frames=1), 30.0, [0, 10, 20]),
        (Sampling(fps=0.5, min_frames=3), 4.0, [4 / 6, 2, 20 / 6]),
        (Sampling(fps=1.0, min_frames=1, max_frames=2), 8.0, [2, 6]),
        (Sampling(fps=None, min_frames=2), 8.0, [2, 6]),
        (Sampling(num_frames=12), 0.0, [0]),
        (Sampling(keyframes=True), 8.0, []),
    ],
)
def test_known_times(sampling: Sampling, duration_seconds: float, expected: list[float]) -> None:
    assert target_timestamps(sampling, duration_seconds) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (Sampling(), "one frame every 2 s, at least 12"),
        (Sampling(num_frames=12), "12 frames each"),
        (Sampling(num_frames=1), "1 frame each"),
        (Sampling(fps=None, min_frames=3), "3 frames each"),
        (Sampling(fps=5, max_frames=100), "5 frames per second, at least 12, at most 100"),
        (Sampling(keyframes=True), "key frames"),
    ],
)
def test_description(sampling: Sampling, words: str) -> None:
    assert sampling.describe() == words


def test_what_a_mode_ignores_is_not_kept() -> None:
    assert Sampling(num_frames=12, fps=3).to_json() == Sampling(num_frames=12).to_json()
    assert Sampling().to_json() == {"mode": "rate", "fps": 0.5, "min_frames": 12, "max_frames": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "fps is 0; a rate is above 0 and at most 1000; change --fps"),
        ({"fps": float("nan")}, "fps is nan; a rate is above 0 and at most 1000; change --fps"),
        ({"num_frames": 0}, "num_frames is 0; at least 1 frame is taken; change --frames"),
        ({"max_frames": -1}, "max_frames is -1; at least 1 frame is taken; change --max-frames"),
        (
            {"num_frames": 3, "keyframes": True},
            "both key frames and 3 uniform frames are asked for; a store has one sampling; "
            "give either --keyframes or --frames",
        ),
    ],
)
def test_impossible_choices(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sampling(**options)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "value", [{}, {"mode": "random"}, {"mode": "uniform"}, {"mode": "keyframes", "fps": 1}]
)
def test_a_sampling_of_another_version_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="unknown sampling"):
        Sampling.from_json(value)
