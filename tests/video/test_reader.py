"""open_video: frames on display at the wanted times, with their real time stamps."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Sampling


def make_video(
    path: Path, *, source: str = "testsrc2=size=64x48:rate=10:duration=6", options: str = "-g 20"
) -> Path:
    command = [
        ffmpeg_binary(),
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        source,
        *options.split(),
        f"file:{path}",
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def test_uniform_frames_are_those_on_display_at_the_segment_centres(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    with open_video(video, Sampling(num_frames=4), size=32) as reader:
        batches = list(reader)
    assert [batch.pixels.shape for batch in batches] == [(4, 32, 32, 3)]
    assert batches[0].pixels.dtype == np.uint8
    assert batches[0].timestamps == pytest.approx([0.7, 2.2, 3.7, 5.2])
    assert reader.num_frames == 4 and reader.warnings == ()
