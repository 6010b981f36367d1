"""open_video: batches, wrong headers, damage, odd names, bad input."""

from __future__ import annotations

import os
import shutil
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.video.clips import frame_number, make_video, numbered, read, run_ffmpeg
from vtrcli.errors import UsageError, VideoError
from vtrcli.video import child, decode
from vtrcli.video import probe as probing
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Keyframes, Rate, Uniform

FOUR = Uniform(num_frames=4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty numbered frames at 10 per second."""
    return numbered(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes a good part of a second to decode."""
    return make_video(
        tmp_path_factory.mktemp("slow") / "slow.mp4", "testsrc2=size=1280x720:rate=30:duration=4"
    )


def failure(path: Path | str) -> tuple[str, str]:
    """(reason, detail) of the VideoError that reading raises."""
    with pytest.raises(VideoError) as caught, open_video(path, FOUR, size=32) as reader:
        list(reader)
    assert caught.value.path == os.fspath(path)
    return caught.value.reason, caught.value.detail


def test_frames_come_in_batches_with_real_times(clip: Path) -> None:
    with open_video(clip, Uniform(num_frames=5), size=24, batch_frames=2) as reader:
        batches = list(reader)
    assert [batch.pixels.shape for batch in batches] == [(2, 24, 24, 3), (2, 24, 24, 3), (1, 24, 24, 3)]
    assert all(batch.pixels.dtype == np.uint8 and batch.timestamps.dtype == np.float64 for batch in batches)
    assert np.concatenate([b.timestamps for b in batches]) == pytest.approx([0.6, 1.8, 3.0, 4.2, 5.4])
    assert reader.num_frames == 5 and reader.warnings == () and reader.plan.method == "linear"


def test_a_fixed_rate_starts_at_zero(clip: Path) -> None:
    batch = read(clip, Rate(fps=1, min_frames=1))
    assert batch.timestamps == pytest.approx([0, 1, 2, 3, 4, 5])
    assert [frame_number(pixels) for pixels in batch.pixels] == [0, 10, 20, 30, 40, 50]


@pytest.mark.slow
def test_more_frames_than_are_held_back_are_streamed(clip: Path) -> None:
    batch = read(clip, Rate(fps=10, min_frames=1), size=800)
    assert len(batch.timestamps) == 60


def test_key_frames_can_be_limited(clip: Path) -> None:
    assert read(clip, Keyframes()).timestamps == pytest.approx([0, 2, 4])
    assert read(clip, Keyframes(max_frames=2)).timestamps == pytest.approx([2, 4])
    assert read(clip, Keyframes(max_frames=5)).timestamps == pytest.approx([0, 2, 4])


def test_seeking_is_used_where_it_pays_and_replaced_where_it_fails(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_OPENING_PIXELS", 0.0)  # pays for tiny pictures too
    monkeypatch.setattr(probing, "_SMALL_BYTES", 0)
    same, late = tmp_path / "same.mkv", tmp_path / "late.mkv"
    run_ffmpeg("-i", str(clip), "-c", "copy", str(same))
    sound = [
        "-f",
        "lavfi",
        "-i",
        "sine=duration=9",
        "-itsoffset",
        "3",
        "-i",
        str(clip),
        "-map",
        "0",
        "-map",
        "1",
    ]
    run_ffmpeg(*sound, "-c:v", "copy", str(late))
    for path, method, times in ((same, "seek", [1.5, 4.5]), (late, "linear", [3.0, 6.7])):
        with open_video(path, Uniform(num_frames=2), size=32) as reader:
            assert reader.plan.method == "seek"
            (batch,) = list(reader)
        assert batch.timestamps == pytest.approx(times, abs=0.06)
        assert reader.plan.method == method


def test_sound_that_outlasts_the_picture_does_not_shift_the_plan(tmp_path: Path, clip: Path) -> None:
    long = tmp_path / "long.mp4"
    run_ffmpeg("-i", str(clip), "-f", "lavfi", "-i", "sine=duration=18", "-c:v", "copy", str(long))
    with open_video(long, FOUR, size=32) as reader:
        times = np.concatenate([batch.timestamps for batch in reader])
    assert times == pytest.approx([0.7, 2.2, 3.7, 5.2])
    assert reader.warnings == () and reader.info.duration_seconds == pytest.approx(6.0, abs=0.11)


def test_a_duration_that_is_not_stated_is_measured(tmp_path: Path) -> None:
    bare = numbered(tmp_path / "bare.h264", rate=25, seconds=2)
    assert read(bare, FOUR).timestamps == pytest.approx([0.24, 0.72, 1.24, 1.72])
    live = tmp_path / "live.mkv"
    run_ffmpeg("-i", str(numbered(tmp_path / "a.mp4")), "-c", "copy", "-live", "1", str(live))
    assert read(live, FOUR).timestamps == pytest.approx([0.7, 2.2, 3.7, 5.2])


def test_a_duration_of_years_is_measured_not_believed(tmp_path: Path) -> None:
    endless = tmp_path / "endless.mkv"
    source = "color=white:size=32x32:rate=1:duration=3"
    make_video(endless, source, "-vf", "setpts=N*10000000/TB", "-fps_mode", "passthrough")
    with open_video(endless, Rate(fps=1), size=32) as reader:
        assert sum(len(batch.timestamps) for batch in reader) >= 1
    assert reader.info.duration_seconds == pytest.approx(3.0)


def test_few_frames_are_given_once_each(tmp_path: Path) -> None:
    batch = read(numbered(tmp_path / "three.mp4", seconds=0.3), Rate())
    assert batch.timestamps == pytest.approx([0, 0.1, 0.2])
    one = tmp_path / "one.mp4"
    make_video(one, "color=white:size=32x32:rate=10", "-frames:v", "1")
    assert read(one, Rate()).timestamps.tolist() == [0.0]


def test_a_truncated_file_gives_what_is_there(tmp_path: Path) -> None:
    whole = numbered(tmp_path / "whole.mkv", rate=10)
    half = tmp_path / "half.mkv"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_video(half, FOUR, size=32) as reader:
        times = np.concatenate([batch.timestamps for batch in reader])
    assert len(times) == 4 and times[-1] < 4


def test_damage_in_the_middle_is_a_warning(tmp_path: Path) -> None:
    broken = make_video(tmp_path / "broken.mp4", "testsrc2=size=320x240:rate=10:duration=6")
    content = bytearray(broken.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20000] = b"\x55" * 20000
    broken.write_bytes(content)
    with open_video(broken, FOUR, size=32) as reader:
        assert sum(len(batch.timestamps) for batch in reader) >= 2
    assert len(reader.warnings) == 1 and ": " in reader.warnings[0]


@pytest.mark.parametrize(
    "name",
    [
        "-i.mp4",
        "new\nline.mp4",
        "quo'te\"s.mp4",
        "frame%03d.mp4",
        "a,b;c[d]=e:f\\g.mp4",
        "https:x.mp4",
        "ünï" + "語" * 82,
        "no suffix",
        "video.txt",
    ],
)
def test_any_name_is_just_a_name(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(Path(name), FOUR).timestamps) == 4


def test_a_name_that_is_not_utf8(tmp_path: Path, clip: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4")
    shutil.copy(clip, name)
    assert len(read(Path(name), FOUR).timestamps) == 4


def test_files_that_are_no_videos(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert failure(tmp_path / "empty.mp4") == ("empty", "it has 0 bytes")
    assert failure(tmp_path / "none.mp4") == ("not-found", "No such file or directory")
    assert failure(tmp_path) == ("not-a-file", "it is a folder")
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 100)
    assert failure(tmp_path / "text.mp4")[0] == "not-a-video"
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    assert failure(tmp_path / "noise.mp4")[0] == "not-a-video"
    (tmp_path / "head.mp4").write_bytes(clip.read_bytes()[:300])
    assert failure(tmp_path / "head.mp4") == ("corrupt", "moov atom not found")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    assert failure(tmp_path / "loop.mp4")[0] == "not-found"
    assert failure("nul\0.mp4") == ("not-found", "embedded null byte")
    assert failure(tmp_path / ("n" * 300))[0] == "not-found"


@pytest.mark.parametrize(
    "content",
    ["ffconcat version 1.0\nfile clip.mp4\n", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.mp4\n"],
)
def test_playlists_are_refused_under_any_name(tmp_path: Path, clip: Path, content: str) -> None:
    shutil.copy(clip, tmp_path / "clip.mp4")
    (tmp_path / "list.mp4").write_text(content)
    assert failure(tmp_path / "list.mp4") == ("playlist", "the content is a list of other files")


def test_files_without_pictures(tmp_path: Path) -> None:
    sound, words, subtitles = tmp_path / "sound.mp4", tmp_path / "words.srt", tmp_path / "words.mkv"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(sound))
    words.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    run_ffmpeg("-i", str(words), str(subtitles))
    assert failure(sound) == ("no-video-stream", "it holds audio")
    assert failure(subtitles) == ("no-video-stream", "it holds subtitles")
    assert failure(words)[0] == "not-a-video"


def test_a_header_without_the_promised_frames(tmp_path: Path, clip: Path) -> None:
    front = tmp_path / "front.mp4"
    run_ffmpeg("-i", str(clip), "-c", "copy", "-movflags", "faststart", str(front))
    content = front.read_bytes()
    front.write_bytes(content[: content.index(b"mdat") + 4])
    assert failure(front)[0] in ("corrupt", "no-frames")


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    assert failure(tmp_path / "fifo.mp4") == ("not-a-file", "it is a FIFO")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path, clip: Path) -> None:
    secret = Path(shutil.copy(clip, tmp_path / "secret.mp4"))
    secret.chmod(0)
    assert failure(secret)[0] == "no-permission"


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, clip: Path) -> None:
    growing = Path(shutil.copy(clip, tmp_path / "growing.mp4"))
    reader = open_video(growing, FOUR, size=32)
    with growing.open("ab") as file:
        file.write(b"more")
    with pytest.raises(VideoError) as caught, reader:
        list(reader)
    assert caught.value.reason == "changed"


def test_the_time_limit_holds(slow: Path) -> None:
    with (
        pytest.raises(VideoError) as caught,
        open_video(slow, Rate(), size=32, timeout_seconds=0.04) as reader,
    ):
        list(reader)
    assert caught.value.reason == "timeout"


def test_the_memory_limit_holds(slow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_video(slow, FOUR, size=32)
    monkeypatch.setattr(child, "MEMORY_BYTES", 100 << 20)
    with pytest.raises(VideoError) as caught, reader:
        list(reader)
    assert caught.value.reason in ("memory", "decoder-crashed")


def test_close_from_another_thread_stops_the_reading(slow: Path) -> None:
    reader = open_video(slow, Rate(fps=30, min_frames=1), size=1200, batch_frames=1)
    next(reader)
    threading.Timer(0.05, reader.close).start()
    started = time.monotonic()
    with pytest.raises(ValueError, match="the video was closed while it was read"):
        list(reader)
    assert time.monotonic() - started < 5


def test_leaving_early_leaves_no_process(clip: Path) -> None:
    with open_video(clip, Rate(fps=10), size=800, batch_frames=1) as reader:
        next(reader)
    with pytest.raises(StopIteration):
        next(reader)


def test_numbers_out_of_bounds(clip: Path) -> None:
    with pytest.raises(UsageError, match="size is 0; at least 1; change size"):
        open_video(clip, FOUR, size=0)


def test_key_frames_too_find_out_that_a_length_is_stated_too_long(tmp_path: Path) -> None:
    clip = numbered(tmp_path / "clip.mkv")
    content = bytearray(clip.read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes, in milliseconds
    content[at : at + 8] = struct.pack(">d", 7_200_000.0)
    clip.write_bytes(content)
    with open_video(clip, Keyframes(), size=32) as reader:
        list(reader)
    assert reader.info.duration_seconds == pytest.approx(6.0)


def test_one_picture_of_a_second_and_a_song_last_as_long_as_the_song(tmp_path: Path) -> None:
    song = tmp_path / "song.mp4"
    picture = ("-f", "lavfi", "-i", "color=white:size=32x32:rate=1:duration=1")
    run_ffmpeg(*picture, "-f", "lavfi", "-i", "sine=duration=10", "-c:v", "libx264", f"file:{song}")
    for sampling in (Rate(), Keyframes()):
        with open_video(song, sampling, size=32) as reader:
            list(reader)
        assert reader.info.duration_seconds == pytest.approx(10.0, abs=0.1)


def test_recordings_of_unknown_size_that_were_joined_follow_each_other(tmp_path: Path) -> None:
    live, joined = numbered(tmp_path / "live.mkv", "-live", "1", "-bf", "0"), tmp_path / "joined.mkv"
    assert not live.read_bytes().count(b"\x44\x89\x88")  # no length either
    joined.write_bytes(live.read_bytes() * 2)
    frames = read(joined, Rate(fps=1, min_frames=1))
    assert [frame_number(pixels) for pixels in frames.pixels] == [0, 10, 20, 30, 40, 50] * 2
    with open_video(live, FOUR, size=32) as reader:
        assert reader.info.duration_seconds == pytest.approx(6.0) and reader.info.can_seek
