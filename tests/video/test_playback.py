"""How a browser gets to play a video: decided on real files of each kind, and streams whose times are the video's."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.video.clips import frame_number, make_video, numbered, run_ffmpeg
from vtrcli.errors import VideoError
from vtrcli.video import encode
from vtrcli.video.cut import frame_at
from vtrcli.video.encode import STREAM_LEAD_SECONDS, encoder_names
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.files import VideoInfo
from vtrcli.video.playback import Playback, Stream, media_type, open_stream, playback
from vtrcli.video.probe import probe

PICTURE = "testsrc2=size=64x48:rate=10:duration=0.4"
# Name of a file, what makes it (with sound where a codec for it is named), kind, and a word of the reason.
COMMON = [
    ("h264.mp4", "", "direct", ""),
    ("aac.mp4", "-c:a aac", "direct", ""),
    ("no_faststart.mov", "-c:a aac", "direct", ""),
    ("pcm.mov", "-c:a pcm_s16le", "remux", "pcm_s16le sound"),
    ("h264.mkv", "-c:a aac", "remux", "matroska files"),
    ("ac3.mkv", "-c:a ac3", "remux", "matroska files"),
    ("hevc.mp4", "-c:v libx265 -x265-params log-level=none", "transcode", "hevc"),
    ("ten_bit.mp4", "-pix_fmt yuv420p10le", "transcode", "yuv420p10le"),
    ("mpeg4.avi", "-c:v mpeg4", "transcode", "mpeg4"),
    ("vp8.webm", "-c:v libvpx -c:a libvorbis", "direct", ""),
]
RARE = [
    ("mp3.mp4", "-c:a libmp3lame", "direct", ""),
    ("fragmented.mp4", "-movflags +frag_keyframe+empty_moov", "direct", ""),
    ("ac3.mp4", "-c:a ac3", "remux", "ac3 sound"),
    ("h264.ts", "-c:a aac", "remux", "mpegts"),
    ("h264.flv", "-c:a aac", "remux", "flv"),
    ("h264.avi", "-c:a mp3", "transcode", "avi"),  # an AVI with B-frames lacks their times
    ("no_b_frames.avi", "-bf 0 -c:a mp3", "remux", "avi"),
    ("full_range.mp4", "-pix_fmt yuvj420p", "direct", ""),
    ("chroma_422.mp4", "-pix_fmt yuv422p", "transcode", "yuv422p"),
    ("chroma_444.mkv", "-pix_fmt yuv444p", "transcode", "yuv444p"),
    ("mpeg4.mp4", "-c:v mpeg4 -c:a aac", "transcode", "mpeg4"),
    ("wmv2.wmv", "-c:v wmv2 -c:a wmav2", "transcode", "wmv2"),
    ("mpeg2.mpg", "-c:v mpeg2video -r 25 -c:a mp2", "transcode", "mpeg2video"),
    ("motion.mjpeg", "-c:v mjpeg -pix_fmt yuvj420p", "transcode", "mjpeg"),
    ("prores.mov", "-c:v prores -pix_fmt yuv422p10le", "transcode", "prores"),
    ("vp9.webm", "-c:v libvpx-vp9 -c:a libopus", "direct", ""),
    ("vp9_ten_bit.webm", "-c:v libvpx-vp9 -pix_fmt yuv420p10le", "direct", ""),
    ("vp9.mkv", "-c:v libvpx-vp9 -c:a libopus", "remux", "matroska"),
    ("vp9_aac.mkv", "-c:v libvpx-vp9 -c:a aac", "remux", "matroska"),
    ("av1.mp4", "-c:v libsvtav1 -svtav1-params lp=1", "direct", ""),
    ("theora.ogv", "-c:v libtheora", "transcode", "theora"),
    ("moving.gif", "-c:v gif -pix_fmt rgb8", "transcode", "gif"),
    ("bare.h264", "-bsf:v h264_mp4toannexb", "transcode", "h264 files"),
]


def made(folder: Path, name: str, options: str) -> Path:
    sound = ["-i", "sine=duration=0.4"] if "-c:a" in options else []
    target = folder / name
    source = ["-f", "lavfi", "-i", PICTURE, *(["-f", "lavfi", *sound] if sound else [])]
    picture = [] if "-c:v" in options else ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"]
    pixels = [] if "-pix_fmt" in options else ["-pix_fmt", "yuv420p"]
    run_ffmpeg(*source, *picture, *pixels, *options.split(), f"file:{target}")
    return target


def decided(path: Path) -> Playback:
    return playback(probe(path), encoders=encoder_names())


@pytest.mark.parametrize(("name", "options", "kind", "reason"), COMMON)
def test_what_is_common_plays_so(tmp_path: Path, name: str, options: str, kind: str, reason: str) -> None:
    how = decided(made(tmp_path, name, options))
    assert how.kind == kind, how
    assert reason in how.reason and bool(reason) == bool(how.reason)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "kind", "reason"), RARE)
def test_what_is_rare_plays_so(tmp_path: Path, name: str, options: str, kind: str, reason: str) -> None:
    how = decided(made(tmp_path, name, options))
    assert how.kind == kind, how
    assert reason in how.reason and bool(reason) == bool(how.reason)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "kind", "reason"), COMMON + RARE)
def test_whatever_is_no_file_for_a_browser_becomes_one(
    tmp_path: Path, name: str, options: str, kind: str, reason: str
) -> None:
    """Also what is: a browser may refuse it all the same."""
    info = probe(made(tmp_path, name, options))
    for convert in (False, True):
        how = playback(info, encoders=encoder_names(), convert=convert)
        if how.kind == "direct":
            continue
        whole = tmp_path / f"{convert}.{how.container}"
        stream = open_stream(info, how, start_seconds=0.0)
        whole.write_bytes(taken(stream))
        again = probe(whole)
        assert playback(again, encoders=encoder_names()).kind in ("direct", "remux"), (
            again
        )  # WebM without a length
        assert again.has_sound == info.has_sound
        assert stream.media_type.startswith(f"video/{how.container}; codecs=")


def taken(stream: Stream) -> bytes:
    pieces = []
    try:
        while piece := stream.read():
            pieces.append(piece)
    finally:
        stream.close()
    return b"".join(pieces)


def streamed(path: Path, target: Path, seconds: float, *, convert: bool = False) -> Playback:
    """The stream of a video from a time on, as a file; how it was made."""
    info = probe(path)
    how = playback(info, encoders=encoder_names(), convert=convert)
    target.write_bytes(taken(open_stream(info, how, start_seconds=seconds)))
    return how


def shown(stream: Path) -> list[tuple[float, float]]:
    """(the video's time in seconds, luma above black) of each picture of a stream."""
    command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-copyts", "-i", f"file:{stream}"]
    command += ["-vf", "scale=1:1,format=gray", "-f", "rawvideo", "-fps_mode", "passthrough"]
    command += ["-enc_time_base", "1:1000000", "-stats_enc_pre:v", "pipe:2", "-stats_enc_pre_fmt:v", "{t}"]
    done = subprocess.run([*command, "pipe:1"], capture_output=True, check=True)
    times = [float(line) - STREAM_LEAD_SECONDS for line in done.stderr.split()]
    return [(t, luma * 219 / 255) for t, luma in zip(times, done.stdout, strict=True)]


@pytest.mark.parametrize(
    ("name", "kind", "first"),
    [("a.mkv", "remux", 40), ("a.avi", "transcode", 47), ("a.mov", "transcode", 47)],
)
def test_the_times_of_a_stream_are_those_of_its_video(
    tmp_path: Path, name: str, kind: str, first: int
) -> None:
    """Frame n of the source appears at n / 10 s; repacked from the key frame before, encoded from the moment on."""
    options = {
        "a.mkv": ["-bf", "2"],
        "a.avi": ["-c:v", "mpeg4", "-q:v", "1"],
        "a.mov": ["-pix_fmt", "yuv444p"],
    }
    source = numbered(tmp_path / name, *options[name])
    assert streamed(source, tmp_path / "out.mp4", 4.75).kind == kind
    pictures = [(seconds, round(luma / 3)) for seconds, luma in shown(tmp_path / "out.mp4")]
    assert pictures[0][1] == first
    for seconds, number in pictures[1:]:
        assert seconds == pytest.approx(number / 10, abs=0.051), pictures


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.ts", "a.mpg", "a.flv", "late.mp4", "a.webm", "b_frames.avi"])
@pytest.mark.parametrize("seconds", [0.0, 3.3, 27.0])
def test_times_are_right_where_no_index_leads_there_or_the_clock_begins_late(
    tmp_path: Path, name: str, seconds: float
) -> None:
    options = {
        "a.mpg": ["-c:v", "mpeg2video", "-q:v", "1", "-r", "25"],
        "late.mp4": ["-pix_fmt", "yuv444p"],
        "a.webm": ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "4", "-cpu-used", "8", "-deadline", "realtime"],
        "b_frames.avi": ["-c:v", "mpeg4", "-bf", "2", "-q:v", "1"],
    }.get(name, ["-bf", "2"])
    source = tmp_path / name
    # brightness rises by one step a second: 40 s fit
    make_video(
        source, "color=black:size=64x64:rate=25:duration=40,geq=lum=16+5*floor(T):cb=128:cr=128", *options
    )
    if name == "late.mp4":
        late = tmp_path / "later.mkv"
        run_ffmpeg("-i", f"file:{source}", "-c", "copy", "-output_ts_offset", "7", f"file:{late}")
        source = late
    streamed(source, tmp_path / "out", seconds, convert=name == "a.webm")
    pictures = [(at, round(luma / 5)) for at, luma in shown(tmp_path / "out")]
    assert len(pictures) > 100
    assert seconds - 11 <= pictures[0][0] <= seconds + 0.05
    wrong = [(at, step) for at, step in pictures if int(at) != step and abs(at - round(at)) > 0.13]
    assert not wrong, wrong[:5]


def test_turned_pictures_are_turned_in_a_stream(tmp_path: Path) -> None:
    flat = make_video(tmp_path / "flat.mkv", "testsrc2=size=64x48:rate=10:duration=0.4", "-c:v", "mpeg4")
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", f"file:{flat}", "-c", "copy", f"file:{turned}")
    streamed(turned, tmp_path / "out.mp4", 0.0)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.rotation_degrees) == (48, 64, 0)


def test_a_large_picture_is_made_smaller(tmp_path: Path) -> None:
    large = make_video(tmp_path / "a.avi", "color=red:size=1921x1081:rate=5:duration=0.2", "-c:v", "mpeg4")
    streamed(large, tmp_path / "out.mp4", 0.0)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height) == (1280, 720)


def test_without_an_h264_encoder_it_is_webm_and_without_any_there_is_none(tmp_path: Path) -> None:
    source = numbered(tmp_path / "a.avi", "-c:v", "mpeg4", "-q:v", "1", seconds=2)
    info = probe(source)
    how = playback(info, encoders=frozenset(["libvpx", "libopus"]))
    assert (how.kind, how.container) == ("transcode", "webm")
    encoders = encode.encoders_of(frozenset(["libvpx", "libvorbis", "aac"]))
    assert encoders is not None and encoders.sound["c:a"] == "libvorbis"
    command = encode.transcode_command(
        info, start_seconds=1.0, way="seek", encoders=encoders, with_sound=False
    )
    target = tmp_path / "out.webm"
    target.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    seconds, luma = shown(target)[0]
    assert (round(seconds, 2), round(luma / 3)) == (1.0, 10)
    none = playback(info, encoders=frozenset(["aac"]))
    assert (none.kind, none.reason) == (
        "none",
        "browsers do not play mpeg4, and this ffmpeg has no encoder that they do play",
    )


def test_what_is_encrypted_is_not_played(tmp_path: Path) -> None:
    info = replace(probe(numbered(tmp_path / "a.mp4", seconds=0.5)), is_encrypted=True)
    assert playback(info, encoders=encoder_names()).kind == "none"


def test_a_time_beyond_the_end_says_so(tmp_path: Path) -> None:
    info = probe(numbered(tmp_path / "a.avi", "-c:v", "mpeg4", seconds=0.5))
    how = playback(info, encoders=encoder_names())
    with pytest.raises(VideoError, match="nothing of it lies at 100 s and after"):
        open_stream(info, how, start_seconds=100.0)


def test_a_stream_that_is_left_leaves_no_child(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.avi", "testsrc2=size=320x240:rate=25:duration=20", "-c:v", "mpeg4")
    info = probe(source)
    stream = open_stream(info, playback(info, encoders=encoder_names()), start_seconds=1.0)
    pid = stream._child._process.pid
    assert stream.read()
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    stream.kill()
    started = time.monotonic()
    while stream.read():
        assert time.monotonic() - started < 10
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("container", "is_webm", "said"),
    [
        ("mov", False, "video/mp4"),
        ("matroska", True, "video/webm"),
        ("dv", False, "application/octet-stream"),
    ],
)
def test_the_type_is_that_of_the_content(tmp_path: Path, container: str, is_webm: bool, said: str) -> None:
    info = VideoInfo(
        path=tmp_path, num_bytes=1, container=container, codec="h264", pixel_format="yuv420p", width=1, height=1,
        rotation_degrees=0, frames_per_second=None, duration_seconds=None, is_hdr=False, start_seconds=0.0,
        keyframe_seconds=None, has_color_matrix=False, is_encrypted=False, is_webm=is_webm,
    )  # fmt: skip
    assert media_type(info) == said


def test_the_picture_is_that_of_the_source(tmp_path: Path) -> None:
    source = numbered(tmp_path / "a.mkv")
    streamed(source, tmp_path / "out.mp4", 2.0)
    assert frame_number(frame_at(tmp_path / "out.mp4", 0.55)) == 25
