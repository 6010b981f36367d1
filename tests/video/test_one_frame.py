"""`frame_at`: the frame on display, upright and whole, and a clear error for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import frame_number, make_video, numbered, run_ffmpeg
from vtrcli.errors import UsageError, VideoError
from vtrcli.video.one_frame import START_OVER_SECONDS, frame_at, is_clean


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered(tmp_path_factory.mktemp("one") / "numbered.mp4")


@pytest.mark.parametrize(("seconds", "number"), [(0, 0), (0.09, 0), (0.1, 1), (2.37, 23), (5.95, 59)])
def test_the_frame_on_display_at_a_time(clip: Path, seconds: float, number: int) -> None:
    assert frame_number(frame_at(clip, seconds)) == number


def test_a_time_beyond_the_end_means_the_end(clip: Path) -> None:
    assert frame_number(frame_at(clip, 1e6)) == 59


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".h264"])
def test_it_is_the_same_where_times_are_counted_or_no_index_leads_there(tmp_path: Path, suffix: str) -> None:
    clip = numbered(
        tmp_path / f"a{suffix}", rate=25, seconds=2
    )  # the rate that a bare stream is taken to have
    assert frame_number(frame_at(clip, 1.05)) == 26
    assert frame_number(frame_at(clip, 1e6)) == 49


def test_the_whole_picture_made_small_but_never_enlarged(tmp_path: Path) -> None:
    wide = make_video(tmp_path / "wide.mp4", "testsrc2=size=640x360:rate=5:duration=0.4")
    assert frame_at(wide, 0.2).shape == (180, 320, 3)
    assert frame_at(wide, 0.2, longest_side=64).shape == (36, 64, 3)
    assert frame_at(wide, 0.2, longest_side=2000).shape == (360, 640, 3)
    assert frame_at(wide, 0.2).dtype == np.uint8


def test_turned_and_with_square_pixels(tmp_path: Path) -> None:
    flat = make_video(tmp_path / "flat.mp4", "color=red:size=64x48:rate=5:duration=0.4,setsar=2")
    assert frame_at(flat, 0).shape == (48, 128, 3)
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", f"file:{flat}", "-c", "copy", f"file:{turned}")
    assert frame_at(turned, 0).shape == (64, 24, 3)
    thin = make_video(tmp_path / "thin.mp4", "color=red:size=2000x2:rate=5:duration=0.4")
    assert frame_at(thin, 0).shape == (2, 16, 3)  # cut to 8:1


def test_colours_are_those_of_the_source(tmp_path: Path) -> None:
    source = "color=0xc04020:size=1280x720:rate=5:duration=0.4,scale=out_color_matrix=bt709,format=yuv420p"
    clip = make_video(tmp_path / "a.mp4", source, "-colorspace", "unknown")
    assert frame_at(clip, 0).mean(axis=(0, 1)) == pytest.approx([0xC0, 0x40, 0x20], abs=6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n", "playlist"), (b"x", "not-a-video")],
)
def test_what_is_no_video_is_said_to_be_none(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        frame_at(path, 1.0)
    assert caught.value.reason == reason


def test_a_file_that_is_gone_or_broken(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(VideoError, match="not-found"):
        frame_at(tmp_path / "gone.mp4", 0)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:200])
    with pytest.raises(VideoError, match="corrupt"):
        frame_at(broken, 1.0)


def test_its_time_is_limited(clip: Path) -> None:
    with pytest.raises(VideoError, match="timeout: ffmpeg took over 0.001 s"):
        frame_at(clip, 1.0, timeout_seconds=0.001)


def test_a_name_is_no_option_no_url_and_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = numbered(tmp_path / "source.mp4", seconds=0.3)
    monkeypatch.chdir(tmp_path)
    for name in ("-i.mp4", "concat:a|b.mp4", "%03d.mp4", "[x]'\"\n.mp4", "<the file>", "\udce9.mp4"):
        Path(name).write_bytes(source.read_bytes())
        assert frame_number(frame_at(name, 0.2)) == 2


@pytest.mark.parametrize(("seconds", "side"), [(-1.0, 320), (float("nan"), 320), (0.0, 0)])
def test_impossible_values(clip: Path, seconds: float, side: int) -> None:
    with pytest.raises(UsageError) as caught:
        frame_at(clip, seconds, longest_side=side)
    assert str(caught.value) == (
        f"a frame at {seconds} s, {side} pixels wide; a time from 0 on, at least 1 pixel; change the time or the side"
    )


def test_what_a_seek_led_to_is_kept_when_it_is_clean_or_far_into_the_video() -> None:
    complaint = b"[h264 @ 0x1] [error] no frame!\n"
    assert is_clean(b"", 1.0) and is_clean(complaint, START_OVER_SECONDS + 1)
    assert not is_clean(complaint, START_OVER_SECONDS)


def test_hdr_is_shown_on_a_standard_screen(tmp_path: Path) -> None:
    source = "color=0x949494:size=64x64:rate=5:duration=0.4,format=yuv420p10le,"
    source += "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    colors = "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    codec = ["-c:v", "libx265", "-x265-params", colors, "-pix_fmt", "yuv420p10le"]
    path = make_video(tmp_path / "hdr.mp4", source, *codec)
    # 0x94 is 203 cd/m2: white on paper
    assert frame_at(path, 0.2).mean() > 200


def test_a_seek_in_an_avi_counts_in_frames_and_does_not_land_on_the_next(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "a.avi", "-g", "1")
    for seconds, number in ((0.26, 2), (0.3, 3), (2.37, 23), (5.99, 59)):
        assert frame_number(frame_at(clip, seconds)) == number
