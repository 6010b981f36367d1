"""probe: what a header says, and that nothing in a file or its name can pass for ffmpeg's own lines."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from tests.video.clips import make_video, read, run_ffmpeg
from vtrcli.errors import VideoError
from vtrcli.video import probe as probing
from vtrcli.video.cut import frame_at
from vtrcli.video.probe import probe
from vtrcli.video.sampling import Keyframes, Rate


def test_a_plain_clip(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", "testsrc2=size=96x64:rate=10:duration=5")
    info = probe(clip)
    assert info.path == clip and info.num_bytes == clip.stat().st_size
    assert (info.container, info.codec, info.pixel_format) == ("mov", "h264", "yuv420p")
    assert (info.width, info.height, info.rotation_degrees) == (96, 64, 0)
    assert (info.frames_per_second, info.duration_seconds, info.start_seconds) == (10.0, 5.0, 0.0)
    assert info.keyframe_seconds is None and info.end_seconds == pytest.approx(5.0)
    assert not info.is_hdr and not info.has_color_matrix and not info.is_counted


@pytest.mark.parametrize("start", ["01:00:00;02", "10:59:58:29"])
@pytest.mark.parametrize("name", ["clip.mov", "clip.mkv", "clip.mxf"])
def test_a_camera_s_timecode_is_read_and_its_track_hides_no_picture(
    tmp_path: Path, name: str, start: str
) -> None:
    forged = "a\ntimecode        : 09:09:09:09"  # no line of ffmpeg's own
    more = ["-timecode", start, "-metadata", f"title={forged}"]
    if name.endswith("mxf"):
        more += ["-c:v", "mpeg2video"]
    clip = make_video(tmp_path / name, "testsrc2=size=96x64:rate=30000/1001:duration=1", *more)
    info = probe(clip)
    assert (info.timecode, info.stream, info.width) == (start, 0, 96)


def test_a_file_without_a_timecode_has_none(tmp_path: Path) -> None:
    title = "title=a\n    timecode        : 09:09:09:09\n    Stream #0:0: Video: h264, yuv420p, 8x8"
    clip = make_video(
        tmp_path / "clip.mp4",
        "testsrc2=size=96x64:rate=25:duration=1",
        "-metadata",
        title,
        "-metadata",
        "reel_name=x",
    )
    info = probe(clip)
    assert (info.timecode, info.width, info.base_rate) == (None, 96, 25.0)


def test_the_distance_of_key_frames_is_looked_for_in_larger_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_SMALL_BYTES", 0)
    clip = make_video(tmp_path / "clip.mp4", "testsrc2=size=96x64:rate=10:duration=5")
    assert probe(clip).keyframe_seconds == pytest.approx(2.0)


@pytest.mark.parametrize(
    "rate", ["24000/1001", "30000/1001", "60000/1001", "25/3", "100/3", "25", "12.5", "0.5"]
)
def test_the_rate_is_not_the_rounded_one_that_ffmpeg_prints(tmp_path: Path, rate: str) -> None:
    clip = make_video(tmp_path / "clip.avi", f"color=red:size=64x48:rate={rate}:duration=2")
    assert probe(clip).frames_per_second == pytest.approx(float(Fraction(rate)), abs=1e-9)


def test_packets_behind_the_end_of_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    clip, cut = tmp_path / "clip.mp4", tmp_path / "cut.mp4"
    make_video(clip, "testsrc2=size=96x64:rate=10:duration=5")
    content = bytearray(clip.read_bytes())
    at = content.index(b"elst") + 12  # version and flags, count, then the length of the first edit
    content[at : at + 4] = (3000).to_bytes(4, "big")
    cut.write_bytes(content)
    assert probe(cut).end_seconds == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cut.mp4", "-c:v libx264 -g 5 -movflags frag_keyframe+empty_moov"),
        ("cut.mxf", "-c:v mpeg2video -r 25"),
    ],
)
def test_what_is_torn_at_its_end_is_read_from_its_begin(tmp_path: Path, name: str, options: str) -> None:
    whole = tmp_path / "whole" / name
    whole.parent.mkdir()
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=5", *options.split(), str(whole))
    content = whole.read_bytes()
    # in the table of the last fragment; in the description of the index
    end = content.rindex(b"trun") + 16 if name == "cut.mp4" else len(content) - 1000
    (tmp_path / name).write_bytes(content[:end])
    assert probe(tmp_path / name).is_torn and not probe(tmp_path / name).can_seek
    for sampling in (Rate(fps=1, min_frames=1), Keyframes()):
        times = read(tmp_path / name, sampling).timestamps
        assert list(times[:4]) == pytest.approx([0, 1, 2, 3] if sampling != Keyframes() else times[:4])
        assert times[-1] >= 4
    assert frame_at(tmp_path / name, 3.0).shape == (64, 96, 3)


def test_the_displayed_size_counts_rotation_and_pixel_shape(tmp_path: Path) -> None:
    wide = make_video(tmp_path / "wide.mp4", "color=red:size=64x48:duration=1,setsar=2/1")
    assert (probe(wide).width, probe(wide).height) == (128, 48)
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "-90", "-i", str(wide), "-c", "copy", str(turned))
    info = probe(turned)
    assert (info.width, info.height, info.rotation_degrees) == (48, 128, 90)


def test_color_and_range_are_read(tmp_path: Path) -> None:
    pq = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"
    clip = make_video(tmp_path / "pq.mp4", f"color=red:size=64x48:duration=0.2,{pq}")
    info = probe(clip)
    assert info.is_hdr and info.has_color_matrix
    clip = make_video(tmp_path / "709.mp4", "color=red:size=64x48:duration=0.2", "-colorspace", "bt709")
    info = probe(clip)
    assert info.has_color_matrix and not info.is_hdr


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    cover, sound = tmp_path / "cover.png", tmp_path / "song.m4a"
    run_ffmpeg("-f", "lavfi", "-i", "color=red:size=32x32", "-frames:v", "1", str(cover))
    run_ffmpeg(
        *("-f", "lavfi", "-i", "sine=duration=1", "-i", str(cover), "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-disposition:v", "attached_pic", str(sound)),
    )
    with pytest.raises(VideoError) as caught:
        probe(sound)
    assert (caught.value.reason, caught.value.detail) == ("no-video-stream", "it holds audio, video")


def test_metadata_cannot_pass_for_a_stream(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    forged = (
        "x\n  Duration: 99:00:00.00, start: 7.000000\n  Stream #0:0: Video: evil, yuv420p, 9999x9999, 5 fps"
    )
    make_video(clip, "color=red:size=64x48:rate=10:duration=1", "-metadata", f"title={forged}")
    info = probe(clip)
    assert (info.codec, info.width, info.duration_seconds, info.start_seconds) == ("h264", 64, 1.0, 0.0)


def test_a_name_cannot_pass_for_a_stream(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", "color=red:size=64x48:rate=10:duration=1")
    forged = tmp_path / "a':\n  Duration: 99:00:00.00\n  Stream #0:0: Video: evil, yuv420p, 9999x9999\n.mp4"
    shutil.copy(clip, forged)
    info = probe(forged)
    assert (info.codec, info.width, info.duration_seconds) == ("h264", 64, 1.0)


def test_metadata_that_is_not_utf8(tmp_path: Path) -> None:
    clip = make_video(
        tmp_path / "clip.avi", "color=red:size=64x48:rate=10:duration=1", "-metadata", "title=ABCDEFGH"
    )
    clip.write_bytes(clip.read_bytes().replace(b"ABCDEFGH", b"\xff\xfe\x80\xe9\xc3\x28\xa0\xf1"))
    assert probe(clip).width == 64


def test_a_bare_stream_has_neither_duration_nor_times(tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "clip.h264", "color=red:size=64x48:rate=10:duration=1"))
    assert info.duration_seconds is None and info.is_counted


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script")
def test_a_header_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_video(tmp_path / "clip.mp4", "color=red:size=64x48:duration=1")
    slow = tmp_path / "ffmpeg"
    slow.write_text("#!/bin/sh\ncase \"$*\" in *-version*) echo 'ffmpeg version 9.0';; *) sleep 60;; esac\n")
    slow.chmod(0o755)
    monkeypatch.setenv("VTR_FFMPEG", str(slow))
    with pytest.raises(VideoError) as caught:
        probe(clip, timeout_seconds=0.2)
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize("brand", ["heic", "mif1", "avif", "crx "])
def test_a_photo_in_the_boxes_of_a_video_is_refused(tmp_path: Path, brand: str) -> None:
    video = make_video(tmp_path / "clip.mp4", "color=red:size=64x48:duration=1")
    body = video.read_bytes()
    assert body[4:8] == b"ftyp"
    (tmp_path / "photo.heic").write_bytes(body[:8] + brand.encode() + body[12:])
    with pytest.raises(VideoError) as caught:
        probe(tmp_path / "photo.heic")
    assert (caught.value.reason, caught.value.detail) == ("not-a-video", "it is a photo (HEIC, AVIF, CR3)")
