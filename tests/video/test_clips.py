"""`cut_clip`: starts where it should, plays everywhere, is there whole or not at all, overwrites nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.video.clips import frame_number, make_video, numbered, run_ffmpeg
from vtrcli.errors import InputError, StoreError, UsageError, VideoError
from vtrcli.video import clips as clips_module
from vtrcli.video import graph
from vtrcli.video.child import Patience, Session
from vtrcli.video.clips import cut_clip
from vtrcli.video.one_frame import frame_at
from vtrcli.video.probe import probe


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


def test_its_time_is_limited(source: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="timeout"):
        cut_clip(source, tmp_path / "clip.mp4", start_seconds=0, end_seconds=5, timeout_seconds=0.01)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set on Linux only")
def test_its_size_is_limited(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips_module, "MAX_CLIP_BYTES", 1000)
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


def test_a_name_is_no_option_no_url_and_no_pattern(
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
def test_colours_are_those_of_the_source(tmp_path: Path, source: str, options: list[str], told: str) -> None:
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
