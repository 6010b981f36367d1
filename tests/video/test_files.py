"""sniff: what the first bytes of a file look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.video.clips import make_video, run_ffmpeg
from vtrcli.video.files import DEMUXERS, SEEKABLE, STREAMS_WITHOUT_TIMES, VIDEO_SUFFIXES, sniff, sniff_bytes


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv", ".ts", ".h264", ".gif", ".nut"])
def test_real_containers_are_video(tmp_path: Path, suffix: str) -> None:
    options = ["-c:v", "gif", "-pix_fmt", "rgb8"] if suffix == ".gif" else []
    clip = make_video(tmp_path / f"clip{suffix}", "color=red:size=32x32:rate=5:duration=1", *options)
    assert sniff(clip) == "video"
    assert suffix in VIDEO_SUFFIXES or suffix == ".nut"


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".flac", ".ogg", ".aac"])
def test_sound_is_audio(tmp_path: Path, suffix: str) -> None:
    clip = tmp_path / f"clip{suffix}"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", f"file:{clip}")
    assert sniff(clip) == "audio"


@pytest.mark.parametrize(
    "head",
    [
        b"#EXTM3U\n#EXT-X-VERSION:3\n",
        b"\xef\xbb\xbf#EXTM3U\n",
        b"ffconcat version 1.0\nfile a.mp4\n",
        b'<?xml version="1.0"?>\n<!-- a -->\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">',
        b"[playlist]\nFile1=a.mp4\n",
        b'<asx version="3.0">',
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    ],
)
def test_lists_of_other_files_are_playlists(head: bytes) -> None:
    assert sniff_bytes(head) == "playlist"


@pytest.mark.parametrize(
    "head", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", b"\xff\xfe\x00", b"PK\x03\x04"]
)
def test_anything_else_is_nothing(head: bytes) -> None:
    assert sniff_bytes(head) is None


@given(st.binary(max_size=600))
def test_no_content_breaks_it(head: bytes) -> None:
    assert sniff_bytes(head) in ("video", "audio", "playlist", None)


def test_demuxers_open_one_file_each() -> None:
    names = set(DEMUXERS.split(","))
    forbidden = {
        "concat",
        "hls",
        "dash",
        "image2",
        "image2pipe",
        "lavfi",
        "sdp",
        "rtsp",
        "tty",
        "applehttp",
        "imf",
    }
    assert not names & forbidden
    assert names >= SEEKABLE and names >= STREAMS_WITHOUT_TIMES
