"""Sampling: the times that a policy means, and how a store keeps it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import StoreError, UsageError
from vtrcli.video.sampling import Keyframes, Rate, Sampling, Uniform, chosen_sampling

samplings = st.one_of(
    st.builds(Uniform, num_frames=st.integers(1, 50), max_frames=st.none() | st.integers(1, 30)),
    st.builds(
        Rate,
        fps=st.floats(0.01, 60),
        min_frames=st.integers(1, 20),
        max_frames=st.none() | st.integers(1, 30),
    ),
)


@given(samplings, st.floats(0.01, 500))
def test_times_increase_evenly_inside_the_video(sampling: Uniform | Rate, duration_seconds: float) -> None:
    times = sampling.times(duration_seconds)
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
        (Uniform(num_frames=4), 8.0, [1, 3, 5, 7]),
        (Rate(fps=1.0, min_frames=2), 3.5, [0, 1, 2, 3]),
        (Rate(fps=1.0, min_frames=2), 3.0, [0, 1, 2]),
        (Rate(fps=0.1, min_frames=1), 30.0, [0, 10, 20]),
        (Rate(fps=0.5, min_frames=3), 4.0, [4 / 6, 2, 20 / 6]),
        (Rate(fps=1.0, min_frames=1, max_frames=2), 8.0, [2, 6]),
        (Rate(fps=None, min_frames=2), 8.0, [2, 6]),
        (Uniform(num_frames=12), 0.0, [0]),
        (Keyframes(), 8.0, None),
    ],
)
def test_known_times(sampling: Sampling, duration_seconds: float, expected: list[float] | None) -> None:
    assert sampling.times(duration_seconds) == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (Rate(), "one frame every 2 s, at least 12"),
        (Uniform(num_frames=12), "12 frames each"),
        (Uniform(num_frames=1), "1 frame each"),
        (Rate(fps=None, min_frames=3), "3 frames each"),
        (Rate(fps=5, max_frames=100), "5 frames per second, at least 12, at most 100"),
        (Keyframes(), "key frames"),
    ],
)
def test_description(sampling: Sampling, words: str) -> None:
    assert sampling.describe() == words


def test_what_a_store_keeps() -> None:
    assert Keyframes().to_json() == {"mode": "keyframes", "max_frames": None}
    assert Uniform(num_frames=12).to_json() == {"mode": "uniform", "num_frames": 12, "max_frames": None}
    assert Rate().to_json() == {"mode": "rate", "fps": 0.5, "min_frames": 12, "max_frames": None}


@pytest.mark.parametrize(
    ("plan", "options", "message"),
    [
        (Rate, {"fps": 0}, "fps is 0; a rate is above 0 and at most 1000; change --fps"),
        (Rate, {"fps": float("nan")}, "fps is nan; a rate is above 0 and at most 1000; change --fps"),
        (Uniform, {"num_frames": 0}, "num_frames is 0; at least 1 frame is taken; change --frames"),
        (
            Keyframes,
            {"max_frames": -1},
            "max_frames is -1; at least 1 frame is taken; change --max-frames",
        ),
        (Rate, {"min_frames": 0}, "min_frames is 0; at least 1 frame is taken; change --min-frames"),
    ],
)
def test_impossible_values(plan: type[Sampling], options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(**options)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ({}, None),
        ({"max_frames": 7}, Rate(max_frames=7)),
        ({"fps": 2.0}, Rate(fps=2.0)),
        ({"min_frames": 3, "max_frames": 7}, Rate(min_frames=3, max_frames=7)),
        ({"frames": 4}, Uniform(num_frames=4)),
        ({"keyframes": True, "max_frames": 7}, Keyframes(max_frames=7)),
    ],
)
def test_options_mean_a_plan(options: dict[str, Any], sampling: Sampling | None) -> None:
    assert chosen_sampling(**options) == sampling


def test_options_of_two_plans_contradict_each_other() -> None:
    with pytest.raises(UsageError) as caught:
        chosen_sampling(frames=3, keyframes=True)
    assert str(caught.value) == (
        "--frames and --keyframes together; one way of choosing frames: --fps with --min-frames, --frames, or "
        "--keyframes; keep one of them"
    )


@pytest.mark.parametrize(
    "value", [{}, {"mode": "random"}, {"mode": "uniform"}, {"mode": "keyframes", "fps": 1}]
)
def test_a_sampling_of_another_version_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="unknown sampling"):
        Sampling.from_json(value)
