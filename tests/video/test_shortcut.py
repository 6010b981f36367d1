"""decode_at_once: the same result as the usual way, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import make_video, numbered, run_ffmpeg
from vtrcli.video.child import Patience, Session
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Sampling
from vtrcli.video.shortcut import Decoded, decode_at_once, mp4_duration


def at_once(path: Path, sampling: Sampling, *, most_frames: int = 100) -> Decoded | None:
    session = Session(path, Patience(60))
    return decode_at_once(session, path, sampling, size=32, num_threads=1, most_frames=most_frames)


@pytest.mark.parametrize(
    "sampling", [Sampling(num_frames=5), Sampling(fps=2, min_frames=1), Sampling(max_frames=3)]
)
def test_it_gives_what_the_usual_way_gives(tmp_path: Path, sampling: Sampling) -> None:
    short, same = numbered(tmp_path / "a.mp4"), tmp_path / "a.mkv"
    run_ffmpeg("-i", str(short), "-c", "copy", str(same))
    decoded = at_once(short, sampling)
    assert decoded is not None and at_once(same, sampling) is None
    with open_video(same, sampling, size=32) as reader:
        (batch,) = list(reader)
    assert np.array_equal(np.stack([frame.pixels for frame in decoded.frames]), batch.pixels)
    assert [frame.seconds for frame in decoded.frames] == pytest.approx(batch.timestamps.tolist())
    assert (decoded.info.width, decoded.info.frames_per_second) == (32, 10.0)
    assert decoded.info.duration_seconds == reader.info.duration_seconds


def test_what_the_guess_cannot_know_goes_the_usual_way(tmp_path: Path) -> None:
    pq = "setparams=color_trc=smpte2084:color_primaries=bt2020:colorspace=bt2020nc"
    hdr = make_video(tmp_path / "hdr.mp4", f"color=red:size=32x32:rate=5:duration=1,{pq}")
    large = make_video(tmp_path / "large.mp4", "color=red:size=1280x720:rate=5:duration=1")
    sound = tmp_path / "sound.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(sound))
    assert [at_once(path, Sampling()) for path in (hdr, large, sound)] == [None, None, None]


def test_long_or_many_or_key_frames_go_the_usual_way(tmp_path: Path) -> None:
    long = make_video(tmp_path / "long.mp4", "color=red:size=32x32:rate=1:duration=20")
    short = numbered(tmp_path / "short.mp4")
    assert at_once(long, Sampling()) is None
    assert at_once(short, Sampling(keyframes=True)) is None
    assert at_once(short, Sampling(), most_frames=11) is None


def test_the_duration_of_a_movie_header(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "a.mp4", seconds=1.5)
    assert mp4_duration(clip) == pytest.approx(1.5)
    assert mp4_duration(numbered(tmp_path / "a.mkv")) is None
    fragmented = tmp_path / "fragmented.mp4"
    run_ffmpeg("-i", str(clip), "-c", "copy", "-movflags", "empty_moov+frag_keyframe", str(fragmented))
    assert mp4_duration(fragmented) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\x08ftyp",
        b"\0\0\0\x08ftyp" + b"\0\0\0\0moov",
        b"\0\0\0\x08ftyp" + b"\0\0\0\x10moov\0\0\0\x08mvhd",
        b"\0\0\0\x08ftyp" + b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x08ftyp" * 100,
    ],
)
def test_a_broken_header_has_no_duration(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    assert mp4_duration(broken) is None
