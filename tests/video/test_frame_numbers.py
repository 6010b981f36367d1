"""The number of a frame is proved by decoding: the picture that stands at that number is the one on display then."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import NUMBERED, frame_number, make_video
from vtrcli.errors import VideoError
from vtrcli.video.cut import frame_at
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.frame_numbers import FrameCount, as_fraction, count_frames_of, nominal_rate
from vtrcli.video.probe import probe

NUM_FRAMES = 50
# 20 frames at 30 a second, 10 at 12, 20 at 60; on a grid of 1/60 s, moved by 3 ms where it is not.
VARIABLE = "if(lt(N,20),N/30,if(lt(N,30),(N-20)/12+2/3,(N-30)/60+1.5))+if(mod(N,3),0.003,0)"


def numbered_clip(path: Path, rate: str, *options: str, times: str | None = None) -> Path:
    """Frame n is a flat grey of its own."""
    source = NUMBERED.format(rate=rate, seconds=10) + (f",setpts='({times})/TB'" if times else "")
    kept = ["-qp", "0", "-frames:v", str(NUM_FRAMES), *(["-fps_mode", "passthrough"] if times else [])]
    return make_video(path, source, *kept, *options)


def pictures(path: Path, *filters: str) -> list[int]:
    """What is on each frame of the whole decoded video."""
    options = ["-vf", ",".join(filters)] if filters else []
    command = [ffmpeg_binary(), "-v", "error", "-i", f"file:{path}", *options, "-fps_mode", "passthrough"]
    done = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True
    )
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 32, 32, 3)
    return [frame_number(frame) for frame in frames]


def counted(path: Path, *spans: tuple[float, float]) -> FrameCount:
    return count_frames_of(probe(path), spans)


def check(path: Path, rate: Fraction, times: list[float]) -> None:
    """Each time's frame shows what is on display then, and the next number another picture."""
    shown = pictures(path)
    count = counted(path, *((seconds, seconds) for seconds in times))
    assert (count.rate, count.is_variable, count.num_frames) == (rate, False, NUM_FRAMES)
    assert shown == list(range(NUM_FRAMES))
    for seconds, (first, after) in zip(times, count.spans, strict=True):
        assert shown[first] == frame_number(frame_at(path, seconds)), seconds
        assert after == first + 1


def test_the_frame_on_display_at_2997(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    check(numbered_clip(tmp_path / "a.mp4", "30000/1001"), rate, [0.0, float(17 / rate), 1.0, 1.5])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.nut"])
@pytest.mark.parametrize(
    "rate", ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60", "25/2"]
)
def test_the_frame_on_display_at_every_rate(tmp_path: Path, rate: str, name: str) -> None:
    """Times: of frames to the digit, just before them, between them; B-frames, key frames far apart."""
    exact = Fraction(rate)
    frames = [0, 1, 7, 23, 24, 31, 48]
    before = [] if name.endswith("mkv") else [float(frame / exact) - 0.0001 for frame in frames[1:]]
    path = numbered_clip(tmp_path / name, rate, "-bf", "2", "-preset", "veryfast", "-g", "300")
    to_digit = [0.0] if name.endswith("mkv") else [float(frame / exact) for frame in frames]
    check(path, exact, [*to_digit, *before, *(float((frame + 0.4) / exact) for frame in frames)])


def test_spans_that_touch_share_no_frame_and_the_last_frame_belongs_to_the_end(tmp_path: Path) -> None:
    path = numbered_clip(tmp_path / "a.mp4", "25")
    count = counted(path, (0.0, 0.5), (0.5, 1.98), (1.98, 2.0), (1.5, 99.0), (0.21, 0.22), (50.0, 60.0))
    assert count.spans == ((0, 12), (12, 49), (49, 50), (37, 50), (5, 6), (49, 50))


def test_a_variable_rate_is_counted_as_an_editor_conforms_it(tmp_path: Path) -> None:
    path = numbered_clip(tmp_path / "a.mp4", "30", times=VARIABLE)
    rate = nominal_rate(probe(path))
    # An editor shows at frame n of so many per second what is on display at that time.
    conformed = pictures(path, f"fps={rate}:start_time=0:round=up")
    slow, fast = [0.0, 0.31, 0.65, 0.7, 1.12, 1.49], [1.51, 1.55, 1.58, 1.7]
    count = counted(path, *((seconds, seconds + 0.2) for seconds in slow + fast))
    assert count.is_variable and count.rate == rate == 30
    for seconds, (first, _) in zip(slow + fast, count.spans, strict=True):
        shown = frame_number(frame_at(path, seconds))
        assert first == 0 or conformed[first - 1] < shown <= conformed[first], seconds
        if seconds in slow:  # of 60 pictures a second an editor shows every other
            assert conformed[first] == shown, seconds


@pytest.mark.parametrize(
    ("average", "base", "nominal"),
    [
        (29.97002997, 90000.0, "30000/1001"),
        (29.87, 30.0, "30"),
        (22.4, 29.97002997, "30000/1001"),
        (25.0, 50.0, "25"),
        (17.3, 1000.0, "24000/1001"),
        (31.0, None, "48"),
        (500.0, None, "500"),
    ],
)
def test_the_nominal_rate(tmp_path: Path, average: float, base: float | None, nominal: str) -> None:
    from tests.video.test_decode import info

    assert nominal_rate(info(frames_per_second=average, base_rate=base)) == Fraction(nominal)


@pytest.mark.parametrize(
    ("rate", "fraction"),
    [(25.0, "25"), (24000 / 1001, "24000/1001"), (59.94005994, "60000/1001"), (12.5, "25/2"), (0.5, "1/2")],
)
def test_a_rate_as_a_fraction(rate: float, fraction: str) -> None:
    assert as_fraction(rate) == Fraction(fraction)


@pytest.mark.slow
def test_a_rate_that_is_no_standard_one_is_known_to_all_digits(tmp_path: Path) -> None:
    path = numbered_clip(tmp_path / "a.mp4", "17123/1000", "-video_track_timescale", "17123")
    assert counted(path, (1.0, 2.0)).rate == Fraction(17123, 1000)


@pytest.mark.slow
def test_phones_round_times_to_a_600th_of_a_second(tmp_path: Path) -> None:
    path = numbered_clip(tmp_path / "a.mp4", "30000/1001", "-video_track_timescale", "600")
    count = counted(path, (1.0, 1.5))
    assert (count.rate, count.is_variable, count.spans) == (Fraction(30000, 1001), False, ((29, 44),))


@pytest.mark.slow
def test_no_error_gathers_over_a_long_film(tmp_path: Path) -> None:
    """36 minutes at 29.97: a rate that is off by a thousandth would be off by 64 frames."""
    path = tmp_path / "long.mp4"
    make_video(path, "color=black:size=16x16:rate=30000/1001:duration=120", "-g", "300")
    long = tmp_path / "longer.mp4"
    subprocess.run(
        [ffmpeg_binary(), "-v", "error", "-stream_loop", "17", "-i", path, "-c", "copy", long], check=True
    )
    rate = Fraction(30000, 1001)
    frames = [0, 17_892, 40_001, 64_000]
    count = counted(long, *((float((frame + 0.5) / rate), float((frame + 90.5) / rate)) for frame in frames))
    assert count.spans == tuple((frame, frame + 90) for frame in frames)
    assert count.rate == rate and count.num_frames == pytest.approx(18 * 3597, abs=18)


def test_counting_begins_with_the_first_picture(tmp_path: Path) -> None:
    """Sound begins 0.6 s before it."""
    path, with_sound = numbered_clip(tmp_path / "a.mkv", "25"), tmp_path / "b.mkv"
    sound = ["-f", "lavfi", "-i", "sine=duration=3", "-c:v", "copy", "-c:a", "pcm_s16le"]
    late = ["-itsoffset", "0.6", "-i", str(path), *sound]
    subprocess.run([ffmpeg_binary(), "-v", "error", *late, with_sound], check=True)
    count = counted(with_sound, (0.0, 1.0), (1.0, 1.5))
    assert count.first_seconds == pytest.approx(0.6, abs=0.001)
    assert count.spans == ((0, 10), (10, 22))


def test_a_stream_without_times_is_counted_by_its_rate(tmp_path: Path) -> None:
    path = numbered_clip(tmp_path / "a.h264", "25")
    assert counted(path, (0.5, 1.0)).spans == ((12, 25),)


def test_encrypted_pictures_are_refused(tmp_path: Path) -> None:
    path = numbered_clip(
        tmp_path / "a.mp4",
        "25",
        *("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "00" * 16, "-encryption_kid", "11" * 16),
    )
    with pytest.raises(VideoError, match="encrypted"):
        counted(path, (0.0, 1.0))
