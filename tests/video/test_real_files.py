"""Every file of the shared data folder decodes or fails for the reason that it has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vtrcli.errors import VideoError
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Rate, Uniform

# What ffmpeg itself gets no picture from either, and the playlists, which are refused.
ODD_FAILURES = {
    "exo_full_blocks.mkv": "no-video-stream",
    "exo_sample.mpd": "playlist",
    "exo_sample_with_opus_audio.mkv": "no-video-stream",
    "hls/prog_index.m3u8": "playlist",
    "moviepy_zero_bytes_result.webm": "empty",
    "mp4parse_bipbop_nonfragment_header.mp4": "corrupt",
    "mp4parse_invalid_userdata.mp4": "corrupt",
    "mp4parse_short-cenc.mp4": "encrypted",
    "mp4parse_sine-3s-xhe-aac-44khz-mono.mp4": "no-video-stream",
    "mp4parse_zero_empty_stsc.mp4": "corrupt",
    "mp4parser_redbull_init.mp4": "corrupt",
    "torchcodec_nasa_13013.mp4.audio.mp3": "no-video-stream",
}


def outcome(path: Path) -> str | None:
    """The reason word of a failure, None for a video that gave frames in order."""
    try:
        with open_video(path, Uniform(num_frames=4), size=32) as reader:
            times = np.concatenate([batch.timestamps for batch in reader])
    except VideoError as error:
        return error.reason
    assert len(times) == reader.num_frames >= 1
    assert times[0] >= 0 and (np.diff(times) > 0).all()
    assert reader.info.width > 0 and reader.info.duration_seconds is not None
    return None


def outcomes(folder: Path) -> dict[str, str | None]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(4) as pool:
        return dict(
            zip((str(path.relative_to(folder)) for path in paths), pool.map(outcome, paths), strict=True)
        )


def test_odd_files(test_data: Path) -> None:
    found = outcomes(test_data / "videos" / "odd")
    assert {name: reason for name, reason in found.items() if reason} == ODD_FAILURES
    assert len(found) > 50


@pytest.mark.slow
def test_natural_clips(test_data: Path) -> None:
    found = outcomes(test_data / "videos" / "natural")
    assert not any(found.values()) and len(found) > 50


@pytest.mark.parametrize(("name", "degrees"), [("0", 0), ("90", 90), ("270", 270)])
def test_turned_phone_videos_stand_upright(test_data: Path, name: str, degrees: int) -> None:
    with open_video(test_data / f"videos/odd/decord_video_{name}.mov", Rate(), size=64) as reader:
        next(reader)
    assert reader.info.rotation_degrees == degrees
    assert (reader.info.width < reader.info.height) == (degrees in (90, 270))


def test_a_break_in_the_middle_is_told(test_data: Path) -> None:
    with open_video(test_data / "videos/odd/decord_corrupted.mp4", Rate(), size=32) as reader:
        list(reader)
    assert reader.warnings == ("damaged in places: Invalid NAL unit size (-1 > 551).",)
