"""`frame_at` and `cut_clip`: the frame on display, whole and upright; a clip that starts where it should."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import frame_number, make_video, numbered, run_ffmpeg
from vtrcli.errors import InputError, StoreError, UsageError, VideoError
from vtrcli.video import cut, graph
from vtrcli.video.child import Patience, Session
from vtrcli.video.cut import START_OVER_SECONDS, cut_clip, frame_at, is_clean
from vtrcli.video.probe import probe


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


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six numbered seconds with key frames every 2 s, a tone that begins at 3 s, and a name of its own inside."""
    folder = tmp_path_factory.mktemp("clips")
    silent = numbered(folder / "silent.mp4")
    path = folder / "source.mp4"
    tone = "sine=frequency=440:duration=3,adelay=3000"
    meta = ["-metadata", "title=a secret", "-metadata:s:a", "title=a secret"]
    run_ffmpeg(
        "-i",
        f"file:{silent}",
        "-f",
        "lavfi",
        "-i",
        tone,
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        *meta,
        f"file:{path}",
    )
    return path


def description(path: Path) -> str:
    session = Session(path, Patience(20))
    with session.run(graph.probe_command(path)) as child:
        child.wait()
        return child.log.decode(errors="replace")


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.5), (2.3, 3.8), (3.95, 4.45)])
def test_it_begins_with_the_frame_on_display_and_lasts_as_asked(
    source: Path, tmp_path: Path, start: float, end: float
) -> None:
    target = tmp_path / "clip.mp4"
    cut_clip(source, target, start_seconds=start, end_seconds=end)
    info = probe(target)
    assert info.duration_seconds == pytest.approx(end - start, abs=0.11)
    assert (info.width, info.height, info.pixel_format, info.codec) == (32, 32, "yuv420p", "h264")
    assert frame_number(frame_at(target, 0)) == int(start * 10 + 1e-9)
    assert frame_number(frame_at(target, 0.4)) == int((start + 0.4) * 10 + 1e-9)


def test_sound_comes_along_and_metadata_does_not(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    cut_clip(source, target, start_seconds=2.5, end_seconds=4.5)
    assert "a secret" in description(source)
    told = description(target)
    assert "Audio: aac" in told and "secret" not in told
    box_order = [target.read_bytes().index(kind) for kind in (b"moov", b"mdat")]
    assert box_order == sorted(box_order)  # it plays before it is loaded whole


def test_sound_begins_where_the_picture_does(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    cut_clip(source, target, start_seconds=2.5, end_seconds=4.5)
    session = Session(target, Patience(20))
    command = graph.probe_command(target)[:1]
    command += [
        "-v",
        "info",
        "-i",
        f"file:{target}",
        "-af",
        "silencedetect=noise=-40dB:d=0.1",
        "-vn",
        "-f",
        "null",
        "-",
    ]
    with session.run(command) as child:
        child.wait()
        silence = re.search(rb"silence_end: ([\d.]+)", child.log)
    assert silence is not None and float(silence[1]) == pytest.approx(0.5, abs=0.1)


def test_odd_sides_turned_pixels_and_large_pictures_become_something_that_plays(tmp_path: Path) -> None:
    odd = make_video(
        tmp_path / "odd.mkv", "testsrc2=size=101x77:rate=5:duration=1,format=yuv444p", "-pix_fmt", "yuv444p"
    )
    cut_clip(odd, tmp_path / "a.mp4", start_seconds=0.2, end_seconds=0.8)
    info = probe(tmp_path / "a.mp4")
    assert (info.width % 2, info.height % 2, info.pixel_format) == (0, 0, "yuv420p")
    turned = tmp_path / "turned.mp4"
    flat = make_video(tmp_path / "flat.mp4", "testsrc2=size=64x48:rate=5:duration=1,setsar=2")
    run_ffmpeg("-display_rotation", "90", "-i", f"file:{flat}", "-c", "copy", f"file:{turned}")
    cut_clip(turned, tmp_path / "b.mp4", start_seconds=0, end_seconds=1, longest_side=64)
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height, info.rotation_degrees) == (24, 64, 0)


@pytest.mark.parametrize("suffix", [".ts", ".h264"])
def test_containers_without_an_index(tmp_path: Path, suffix: str) -> None:
    other, target = numbered(tmp_path / f"other{suffix}", rate=25, seconds=2), tmp_path / "clip.mp4"
    cut_clip(other, target, start_seconds=1.0, end_seconds=1.6)
    assert frame_number(frame_at(target, 0)) == 25
    assert probe(target).duration_seconds == pytest.approx(0.6, abs=0.05)


def test_an_end_beyond_the_video_is_the_videos(source: Path, tmp_path: Path) -> None:
    cut_clip(source, tmp_path / "clip.mp4", start_seconds=5, end_seconds=50)
    assert probe(tmp_path / "clip.mp4").duration_seconds == pytest.approx(1.0, abs=0.15)


def test_sound_that_no_decoder_knows_costs_the_sound(source: Path, tmp_path: Path) -> None:
    opus, broken = tmp_path / "opus.mp4", tmp_path / "broken.mp4"
    run_ffmpeg("-i", f"file:{source}", "-c:v", "copy", "-c:a", "libopus", f"file:{opus}")
    broken.write_bytes(opus.read_bytes().replace(b"Opus", b"Xpus"))
    assert "Audio: none" in description(broken)
    cut_clip(broken, tmp_path / "clip.mp4", start_seconds=1, end_seconds=2)
    assert "Audio" not in description(tmp_path / "clip.mp4")


def test_a_broken_source_or_nothing_there_leaves_no_file(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(source.read_bytes()[:300])
    for path, start, reason in (
        (tmp_path / "gone.mp4", 0.0, "not-found"),
        (broken, 0.0, "corrupt"),
        (source, 60.0, "no-frames"),
    ):
        with pytest.raises(VideoError) as caught:
            cut_clip(path, target, start_seconds=start, end_seconds=start + 1)
        assert caught.value.reason == reason
    assert caught.value.detail == "nothing of it lies at 60 s and after"
    assert list(tmp_path.iterdir()) == [broken]


def test_the_time_of_a_clip_is_limited(source: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="timeout"):
        cut_clip(source, tmp_path / "clip.mp4", start_seconds=0, end_seconds=5, timeout_seconds=0.01)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set on Linux only")
def test_its_size_is_limited(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "MAX_CLIP_BYTES", 1000)
    with pytest.raises(InputError) as caught:
        cut_clip(source, tmp_path / "clip.mp4", start_seconds=0, end_seconds=5)
    assert (
        str(caught.value)
        == "the clip would be larger than 2 GiB; a clip has at most 2 GiB; cut a shorter one"
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "clip.mp4", tmp_path / "link.mp4"
    target.write_bytes(b"mine")
    link.symlink_to(tmp_path / "nowhere.mp4")
    for path in (target, link):
        with pytest.raises(UsageError) as caught:
            cut_clip(source, path, start_seconds=0, end_seconds=1)
        assert str(caught.value) == (
            f"{path} exists; a clip is written under a new name; move the file away or choose another name"
        )
    assert target.read_bytes() == b"mine" and not (tmp_path / "nowhere.mp4").exists()


def test_a_folder_that_is_not_there(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write .*no/clip.mp4: No such file or directory"):
        cut_clip(source, tmp_path / "no" / "clip.mp4", start_seconds=0, end_seconds=1)


@pytest.mark.parametrize(("start", "end"), [(-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.0, float("inf"))])
def test_impossible_times(source: Path, tmp_path: Path, start: float, end: float) -> None:
    with pytest.raises(UsageError, match=f"a clip from {start} s to {end} s; it starts at 0 s or later"):
        cut_clip(source, tmp_path / "clip.mp4", start_seconds=start, end_seconds=end)


def test_a_name_of_a_clip_is_no_option_no_url_and_no_pattern(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-y", "%03d.mp4", "http:", "<the clip>"):
        Path(name).write_bytes(source.read_bytes())
        cut_clip(name, Path(f"-{name}.out"), start_seconds=0, end_seconds=0.3)
        assert probe(f"-{name}.out").codec == "h264"


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        ("scale=out_color_matrix=bt601,format=yuv420p", [], "yuv420p("),
        (
            "scale=out_color_matrix=bt709:out_range=full,format=yuv420p",
            ["-colorspace", "bt709", "-color_range", "pc"],
            "yuv420p(tv, bt709",
        ),
        ("format=rgb24", ["-c:v", "libx264rgb", "-pix_fmt", "rgb24"], "yuv420p(tv, bt709"),
    ],
)
def test_colours_of_a_clip_are_those_of_the_source(
    tmp_path: Path, source: str, options: list[str], told: str
) -> None:
    color = "color=0xc04020:size=64x64:rate=5:duration=0.4,"
    path, target = make_video(tmp_path / "a.mp4", color + source, *options), tmp_path / "clip.mp4"
    cut_clip(path, target, start_seconds=0, end_seconds=0.4)
    assert frame_at(target, 0).mean(axis=(0, 1)) == pytest.approx([0xC0, 0x40, 0x20], abs=6)
    assert told in description(target)


def test_hdr_becomes_a_clip_for_a_standard_screen(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mp4"
    source = "color=0x949494:size=64x64:rate=5:duration=0.4,format=yuv420p10le,"
    source += "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    colors = "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    make_video(path, source, "-c:v", "libx265", "-x265-params", colors, "-pix_fmt", "yuv420p10le")
    assert probe(path).is_hdr
    cut_clip(path, tmp_path / "clip.mp4", start_seconds=0, end_seconds=0.4)
    assert frame_at(tmp_path / "clip.mp4", 0).mean() == pytest.approx(frame_at(path, 0).mean(), abs=4)
    assert "yuv420p(tv, bt709" in description(tmp_path / "clip.mp4")
