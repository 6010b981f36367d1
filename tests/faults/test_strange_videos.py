"""160 damaged videos of many containers: each is extracted or a row with a fixed reason; no hang, no bug."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.cli.runner import run
from tests.faults.test_strange_stores import mutated, sound_exit
from tests.video.clips import run_ffmpeg
from vtrcli.errors import VIDEO_FAILURE_REASONS

SOURCES = {
    "mp4": ["-c:v", "libx264", "-g", "5"],
    "mov": ["-c:v", "mpeg4"],
    "mkv": ["-c:v", "libx265", "-x265-params", "log-level=none"],
    "webm": ["-c:v", "libvpx-vp9"],
    "avi": ["-c:v", "mpeg4", "-bf", "2"],
    "ts": ["-c:v", "libx264", "-bf", "2"],
    "mpg": ["-c:v", "mpeg2video"],
    "flv": ["-c:v", "flv1"],
    "wmv": ["-c:v", "wmv2"],
    "ogv": ["-c:v", "libtheora"],
    "gif": [],
    "mxf": ["-c:v", "mpeg2video", "-s", "160x96", "-r", "25"],
    "nut": ["-c:v", "ffv1"],
    "y4m": [],
    "h264": ["-c:v", "libx264"],
    "mjpeg": ["-c:v", "mjpeg"],
}
NUM_VIDEOS = 160


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["default", "keyframes"])
def test_160_damaged_videos_are_done_or_told(sampling: str, tmp_path: Path) -> None:
    rng = random.Random(7)
    (tmp_path / "videos").mkdir()
    whole = {}
    for suffix, options in SOURCES.items():
        path = tmp_path / f"whole.{suffix}"
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=1", *options, f"file:{path}")
        whole[suffix] = path.read_bytes()
    for number in range(NUM_VIDEOS):
        suffix = list(SOURCES)[number % len(SOURCES)]
        body = whole[suffix]
        for _ in range(rng.randrange(1, 4)):
            body = mutated(body, rng) or body
        (tmp_path / "videos" / f"{number}.{suffix}").write_bytes(body + number.to_bytes(2, "big"))
    options = ["--keyframes"] if sampling == "keyframes" else ["--frames", "3"]
    store = ["--store", str(tmp_path / "store")]
    result = run(
        "extract", str(tmp_path / "videos"), *store, "--backbone", "demo", "--device", "cpu", *options,
        "--timeout", "20", "--keep-frames", "--json",
    )  # fmt: skip
    assert sound_exit(result), repr(result.exception)
    told = json.loads(result.stdout)
    reasons = {row["path"]: row["reason"] for row in told["failures"]}
    assert set(reasons.values()) <= set(VIDEO_FAILURE_REASONS) - {"bug", "timeout"}, reasons
    assert told["num_extracted"] + len(reasons) == told["num_found"] == NUM_VIDEOS
    assert told["num_extracted"] > NUM_VIDEOS // 4 and len(reasons) > NUM_VIDEOS // 10
    for command in (
        ["store", "verify", *store],
        ["search", "red", *store, "--device", "cpu", "--run", "none"],
    ):
        assert run(*command).exit_code == 0
    print(f"{sampling}: {told['num_extracted']} extracted; {sorted(reasons.values())}")
