"""make_plan: linear, seek or key frames, by cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vtrcli.video.info import VideoInfo
from vtrcli.video.plan import keyframe_plan, make_plan
from vtrcli.video.sampling import Sampling


def info(**changes: Any) -> VideoInfo:
    fields: dict[str, Any] = {
        "path": Path("clip.mp4"),
        "num_bytes": 1,
        "container": "mov",
        "codec": "h264",
        "pixel_format": "yuv420p",
        "width": 1280,
        "height": 720,
        "rotation_degrees": 0,
        "frames_per_second": 25.0,
        "duration_seconds": 600.0,
        "is_hdr": False,
        "start_seconds": 0.0,
        "keyframe_seconds": 10.0,
        "has_color_matrix": True,
        "is_encrypted": False,
    }
    return VideoInfo(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "sampling", "method"),
    [
        ({}, Sampling(num_frames=12), "seek"),
        ({"duration_seconds": 20.0}, Sampling(num_frames=12), "linear"),
        ({"duration_seconds": 60.0, "keyframe_seconds": 1.0}, Sampling(num_frames=12), "seek"),
        ({"duration_seconds": 60.0, "keyframe_seconds": None}, Sampling(num_frames=12), "linear"),
        ({}, Sampling(), "linear"),
        ({"width": 32, "height": 32, "duration_seconds": 60.0}, Sampling(num_frames=12), "linear"),
        ({"container": "mpegts"}, Sampling(num_frames=12), "linear"),
        ({"has_restarts": True}, Sampling(num_frames=12), "linear"),
        ({"lacks_times": True}, Sampling(num_frames=12), "linear"),
    ],
)
def test_the_cheaper_way_is_taken(changes: dict[str, Any], sampling: Sampling, method: str) -> None:
    assert make_plan(info(**changes), sampling).method == method


def test_seeking_can_be_ruled_out() -> None:
    assert make_plan(info(), Sampling(num_frames=12), may_seek=False).method == "linear"


@pytest.mark.parametrize(("width", "height", "inputs"), [(1920, 1080, 12), (3840, 2160, 3), (7680, 4320, 1)])
def test_open_decoders_are_bounded_by_their_pictures(width: int, height: int, inputs: int) -> None:
    plan = make_plan(info(width=width, height=height), Sampling(num_frames=12))
    assert plan.inputs_per_process == inputs


def test_key_frames_are_thinned_only_above_the_limit() -> None:
    assert keyframe_plan(np.arange(10.0), 10, 10).keep is None
    plan = keyframe_plan(np.arange(60.0), 60, 10)
    assert plan.keep == (10, 60) and plan.targets.tolist() == [5, 11, 17, 23, 29, 35, 41, 47, 53, 59]
    assert keyframe_plan(np.zeros(0), 60, 10).keep == (10, 60)
