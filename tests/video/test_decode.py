"""The plan (linear, seek or key frames, by cost), and the frame on display at each time, by either method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.video.clips import NUMBERED, frame_number, make_video, numbered, run_ffmpeg
from vtrcli.video.child import Patience, Session
from vtrcli.video.decode import Decode, DecodePlan, Frame, Method, SeekMissed, keyframe_plan, make_plan
from vtrcli.video.files import VideoInfo
from vtrcli.video.graph import Decoding
from vtrcli.video.probe import probe
from vtrcli.video.sampling import Rate, Uniform


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


def plan_of(video: VideoInfo, sampling: Uniform | Rate, *, may_seek: bool = True) -> DecodePlan:
    assert video.duration_seconds is not None
    return make_plan(video, sampling.times(video.duration_seconds), may_seek=may_seek)


@pytest.mark.parametrize(
    ("changes", "sampling", "method"),
    [
        ({}, Uniform(num_frames=12), "seek"),
        ({"duration_seconds": 20.0}, Uniform(num_frames=12), "linear"),
        ({"duration_seconds": 60.0, "keyframe_seconds": 1.0}, Uniform(num_frames=12), "seek"),
        ({"duration_seconds": 60.0, "keyframe_seconds": None}, Uniform(num_frames=12), "linear"),
        ({}, Rate(), "linear"),
        ({"width": 32, "height": 32, "duration_seconds": 60.0}, Uniform(num_frames=12), "linear"),
        ({"container": "mpegts"}, Uniform(num_frames=12), "linear"),
        ({"has_restarts": True}, Uniform(num_frames=12), "linear"),
        ({"lacks_times": True}, Uniform(num_frames=12), "linear"),
    ],
)
def test_the_cheaper_way_is_taken(changes: dict[str, Any], sampling: Uniform | Rate, method: str) -> None:
    assert plan_of(info(**changes), sampling).method == method


def test_seeking_can_be_ruled_out() -> None:
    assert plan_of(info(), Uniform(num_frames=12), may_seek=False).method == "linear"


@pytest.mark.parametrize(("width", "height", "inputs"), [(1920, 1080, 12), (3840, 2160, 3), (7680, 4320, 1)])
def test_open_decoders_are_bounded_by_their_pictures(width: int, height: int, inputs: int) -> None:
    plan = plan_of(info(width=width, height=height), Uniform(num_frames=12))
    assert plan.inputs_per_process == inputs


def test_key_frames_are_thinned_only_above_the_limit() -> None:
    assert keyframe_plan(np.arange(10.0), 10, 10).keep is None
    plan = keyframe_plan(np.arange(60.0), 60, 10)
    assert plan.keep == (10, 60) and plan.targets.tolist() == [5, 11, 17, 23, 29, 35, 41, 47, 53, 59]
    assert keyframe_plan(np.zeros(0), 60, 10).keep == (10, 60)


def decode(path: Path, method: Method, targets: list[float], *, inputs: int = 5) -> list[Frame]:
    plan = DecodePlan(method=method, targets=np.array(targets), inputs_per_process=inputs)
    return list(Decode(Session(path, Patience(60)), probe(path), plan, Decoding(size=32)).frames())


@pytest.fixture(scope="module")
def vfr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames shown from 0, 0.1, 0.4, 0.9, 1.6, ... (n * n / 10) seconds on."""
    source = NUMBERED.format(rate=10, seconds=2) + ",setpts=(N*N+0.5)/10/TB"
    return make_video(
        tmp_path_factory.mktemp("vfr") / "vfr.mkv", source, "-qp", "0", "-fps_mode", "passthrough", "-bf", "2"
    )


even = st.integers(1, 9).map(lambda count: Uniform(num_frames=count).times(36.0).tolist())
milliseconds = st.lists(st.integers(0, 36_100), min_size=1, max_size=9, unique=True)
uneven = milliseconds.map(lambda times: [time / 1000 for time in sorted(times)])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(targets=even | uneven, method=st.sampled_from(["linear", "seek"]))
def test_the_last_frame_at_or_before_each_time(vfr: Path, targets: list[float], method: Method) -> None:
    numbers = list(dict.fromkeys(int(np.floor(np.sqrt(10 * target + 1e-9))) for target in targets))
    frames = decode(vfr, method, targets)
    assert [frame_number(frame.pixels) for frame in frames] == numbers
    assert [frame.seconds for frame in frames] == pytest.approx([n * n / 10 for n in numbers], abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.flv"])
def test_seeking_gives_what_a_linear_pass_gives(tmp_path: Path, name: str) -> None:
    clip = numbered(tmp_path / name, "-bf", "2", rate=10, seconds=6)
    targets = Uniform(num_frames=7).times(6.0).tolist()
    linear, seek = decode(clip, "linear", targets), decode(clip, "seek", targets)
    assert [frame_number(f.pixels) for f in seek] == [frame_number(f.pixels) for f in linear]
    assert [f.seconds for f in seek] == pytest.approx([f.seconds for f in linear])
    assert len(seek) == 7


def test_times_count_from_the_start_of_the_container(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "late.mkv", "-output_ts_offset", "100")
    assert probe(clip).start_seconds == pytest.approx(100.0)
    for method in ("linear", "seek"):
        frames = decode(clip, method, [0.45, 2.45, 4.45])
        assert [frame_number(frame.pixels) for frame in frames] == [4, 24, 44]
        assert [frame.seconds for frame in frames] == pytest.approx([0.4, 2.4, 4.4])


def test_the_last_picture_lasts_to_the_end(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "one.mp4", rate=1, seconds=1)
    frames = decode(clip, "linear", [0.1, 0.5, 0.9])
    assert [frame.seconds for frame in frames] == [0.0]


def test_key_frames_only_and_thinned(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "a.mp4")
    assert [f.seconds for f in decode(clip, "keyframes", [])] == pytest.approx([0, 2, 4])
    plan = DecodePlan(method="keyframes", targets=np.zeros(0), keep=(2, 3))
    thinned = Decode(Session(clip, Patience(60)), probe(clip), plan, Decoding(size=32))
    assert [f.seconds for f in thinned.frames()] == pytest.approx([2, 4])


def test_a_bare_stream_is_timed_by_its_rate(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "a.h264", rate=25, seconds=2)
    assert [f.seconds for f in decode(clip, "linear", [0.5, 1.5])] == pytest.approx([0.48, 1.48])
    assert [f.seconds for f in decode(clip, "keyframes", [])] == pytest.approx([0, 0.8, 1.6])


def test_a_change_of_picture_size_neither_repeats_nor_loses_time(tmp_path: Path) -> None:
    small = numbered(tmp_path / "small.h264", rate=25, seconds=2)
    large = make_video(tmp_path / "large.h264", "color=white:size=64x48:rate=25:duration=2")
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = decode(both, "linear", [0.5, 1.5, 2.5, 3.5])
    assert [frame.seconds for frame in frames] == pytest.approx([0.48, 1.48, 2.48, 3.48])
    assert [frame.pixels.mean() > 240 for frame in frames] == [False, False, True, True]


def test_a_seek_that_lands_too_late_is_noticed(tmp_path: Path) -> None:
    clip, late = numbered(tmp_path / "a.mp4"), tmp_path / "late.mkv"
    # the picture starts 3 s after the sound
    run_ffmpeg(
        *("-f", "lavfi", "-i", "sine=duration=9", "-itsoffset", "3", "-i", str(clip)),
        *("-map", "0", "-map", "1", "-c:v", "copy", str(late)),
    )
    with pytest.raises(SeekMissed):
        decode(late, "seek", [1.0, 5.0])
    assert [frame.seconds for frame in decode(late, "linear", [1.0, 5.0])] == pytest.approx([3, 5], abs=0.11)


def test_pictures_that_seeking_breaks_are_not_trusted(test_data: Path) -> None:
    # 4:4:4 by an old x264: its version, which the decoder must know, stands at the first key frame only
    clip = test_data / "videos/natural/imageio_cockatoo.mp4"
    with pytest.raises(SeekMissed):
        decode(clip, "seek", [5.0, 9.0])
    assert [frame.seconds for frame in decode(clip, "linear", [5.0, 9.0])] == pytest.approx([5.0, 9.0])
