"""Kinds of videos that headers lie about or that decoders handle oddly: what a person sees at a time is what we say.

The inputs of data/faults, and for each kind others, written here into other containers and by other codecs. The
table in docs/decoding.md counts them.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.video.clips import NUMBERED, frame_number, make_video, numbered, read, run_ffmpeg
from vtrcli.errors import VideoError
from vtrcli.video import decode
from vtrcli.video import probe as probing
from vtrcli.video.cut import cut_clip, frame_at
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.files import looks_encrypted
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Keyframes, Rate, Sampling, Uniform

SECONDLY = Rate(fps=1, min_frames=1)
ENCODER = {
    ".webm": "-c:v libvpx -crf 4 -b:v 2M -auto-alt-ref 0 -g 20",
    ".wmv": "-c:v wmv2 -q:v 1 -g 20",
    ".mpg": "-c:v mpeg2video -q:v 1 -bf 2 -g 20",
    ".vob": "-c:v mpeg2video -q:v 1 -bf 2 -g 20 -f vob",
}


def write(path: Path, *, rate: int = 10, seconds: float = 6) -> Path:
    """Numbered frames in the container that the suffix names; H.264 with B-frames where that is usual."""
    if path.suffix not in ENCODER:
        return numbered(path, "-bf", "2", rate=rate, seconds=seconds)
    source = NUMBERED.format(rate=rate, seconds=seconds)
    run_ffmpeg("-f", "lavfi", "-i", source, *ENCODER[path.suffix].split(), f"file:{path}")
    return path


def seen(path: Path, sampling: Sampling = SECONDLY) -> list[tuple[float, int]]:
    """(time, number) of every frame."""
    batch = read(path, sampling)
    return [
        (round(float(t), 2), frame_number(p)) for t, p in zip(batch.timestamps, batch.pixels, strict=True)
    ]


def length(path: Path, sampling: Sampling = SECONDLY) -> float:
    with open_video(path, sampling, size=32) as reader:
        list(reader)
    assert reader.info.duration_seconds is not None
    return reader.info.duration_seconds


def reason(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        read(path, SECONDLY)
    return caught.value.reason


def slow_but(first: str, *others: object) -> list[object]:
    """The first in every run, the others with the slow tests."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]


# A download that was interrupted


@pytest.mark.parametrize("suffix", slow_but(".mkv", ".webm", ".flv", ".ts", ".avi"))
def test_an_interrupted_download_gives_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(decode, "_OPENING_PIXELS", 0.0)  # seeking pays for tiny pictures too
    monkeypatch.setattr(probing, "_SMALL_BYTES", 0)
    whole = write(tmp_path / f"whole{suffix}").read_bytes()
    for share in (0.58, 0.75, 0.98):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(whole[: int(len(whole) * share)])
        frames = seen(cut, Uniform(num_frames=12))
        assert len(frames) >= 10
        # the very last one may be torn
        assert all(number == round(10 * seconds) for seconds, number in frames[:-1]), frames


@pytest.mark.parametrize("suffix", slow_but(".mp4", ".mkv", ".webm"))
def test_a_file_of_which_only_the_beginning_came_gives_that(tmp_path: Path, suffix: str) -> None:
    video = write(tmp_path / f"whole{suffix}")
    if suffix == ".mp4":
        front = tmp_path / "front.mp4"
        run_ffmpeg("-i", f"file:{video}", "-c", "copy", "-movflags", "faststart", f"file:{front}")
        video = front
    content = bytearray(video.read_bytes())
    # as much of the file as a download client makes room for, its first third there
    kept = len(content) // 3 + (content.find(b"mdat") if suffix == ".mp4" else 0)
    content[kept:] = bytes(len(content) - kept)
    (tmp_path / f"part{suffix}").write_bytes(content)
    frames = seen(tmp_path / f"part{suffix}", Uniform(num_frames=4))
    assert frames and all(number <= round(10 * seconds) for seconds, number in frames), frames


# Lengths that are stated too short


@pytest.mark.parametrize("suffix", slow_but(".ts", ".mkv", ".webm", ".avi"))
def test_recordings_that_were_joined_follow_each_other(tmp_path: Path, suffix: str) -> None:
    one = write(tmp_path / f"one{suffix}").read_bytes()
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(one * 2)
    assert seen(joined) == [(float(n), n % 6 * 10) for n in range(12)]
    assert seen(joined, Uniform(num_frames=4)) == [(1.5, 15), (4.5, 45), (7.5, 15), (10.5, 45)]
    assert length(joined) == pytest.approx(12.0, abs=0.01)
    assert frame_number(frame_at(joined, 8.0)) == 20
    if suffix != ".webm":  # this encoder puts key frames where it likes
        assert seen(joined, Keyframes())[::3] == [(0.0, 0), (6.0, 0)]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".vob", ".mpg"])
def test_where_joined_recordings_meet_a_frame_is_the_most_that_is_lost(tmp_path: Path, suffix: str) -> None:
    one = write(tmp_path / f"one{suffix}", rate=25, seconds=2.4).read_bytes()
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(one * 2)
    numbers = [number for _, number in seen(joined, Uniform(num_frames=4))]
    assert numbers == pytest.approx([15, 45, 15, 45], abs=1)
    assert length(joined) == pytest.approx(4.8, abs=0.09)


@pytest.mark.slow
def test_a_stream_that_restarts_and_one_of_another_size(tmp_path: Path) -> None:
    one = write(tmp_path / "one.flv").read_bytes()
    restarted = tmp_path / "restarted.flv"
    restarted.write_bytes(one + one[13:])  # the tags again, without the header
    assert seen(restarted) == [(float(n), n % 6 * 10) for n in range(12)]
    large = make_video(tmp_path / "large.ts", "color=white:size=64x48:rate=10:duration=6")
    both = tmp_path / "both.ts"
    both.write_bytes(write(tmp_path / "one.ts").read_bytes() + large.read_bytes())
    assert [number for _, number in seen(both)][:6] == [0, 10, 20, 30, 40, 50]
    assert [number for _, number in seen(both)][7:] == [73] * 5  # white


def patched(path: Path, mark: bytes, offset: int, value: bytes) -> Path:
    """A copy with other bytes after a mark."""
    content = bytearray(path.read_bytes())
    at = content.index(mark) + len(mark) + offset
    content[at : at + len(value)] = value
    copy = path.with_stem("patched")
    copy.write_bytes(content)
    return copy


# Where the container keeps its length, and two seconds in its units.
LENGTHS: dict[str, tuple[bytes, int, bytes]] = {
    ".mp4": (b"mvhd", 16, struct.pack(">I", 2000)),
    ".mkv": (b"\x44\x89\x88", 0, struct.pack(">d", 2000.0)),
    ".webm": (b"\x44\x89\x88", 0, struct.pack(">d", 2000.0)),
    ".flv": (b"duration\x00", 0, struct.pack(">d", 2.0)),
    ".wmv": (bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"), 48, struct.pack("<Q", 51_000_000)),
    ".avi": (b"avih", 20, struct.pack("<I", 20)),
}


@pytest.mark.parametrize("suffix", slow_but(".mkv", ".mp4", ".webm", ".flv", ".wmv", ".avi"))
def test_a_length_that_is_stated_too_short_loses_nothing(tmp_path: Path, suffix: str) -> None:
    video = patched(write(tmp_path / f"whole{suffix}"), *LENGTHS[suffix])
    assert seen(video) == [(float(n), 10 * n) for n in range(6)]
    assert seen(video, Uniform(num_frames=3)) == [(1.0, 10), (3.0, 30), (5.0, 50)]
    assert length(video) == pytest.approx(6.0, abs=0.01)
    assert frame_number(frame_at(video, 4.55)) == 45


def test_the_last_picture_of_a_gif_lasts_as_long_as_it_says(tmp_path: Path) -> None:
    gif = tmp_path / "a.gif"
    source = NUMBERED.format(rate=2, seconds=4)
    run_ffmpeg("-f", "lavfi", "-i", source, "-final_delay", "300", str(gif))
    assert length(gif) == pytest.approx(6.5)
    assert [seconds for seconds, _ in seen(gif, Uniform(num_frames=2))] == [1.5, 3.5]


# Key frames


H264 = "-c:v libx264 -preset veryfast -bf 3 -g 12 -sc_threshold 0"
HEVC = "-c:v libx265 -preset ultrafast -bf 3 -g 12 -x265-params log-level=none:scenecut=0"
MPEG2 = "-c:v mpeg2video -q:v 1 -bf 2 -g 12 -sc_threshold 1000000000"
KEYFRAMES = [
    (".mkv", H264 + " -x264-params open-gop=1"),
    (".mp4", H264 + " -x264-params open-gop=1"),
    (".ts", H264 + " -x264-params open-gop=1"),
    (".mkv", HEVC + ":open-gop=1"),
    (".mp4", H264),
    (".mov", H264),
    (".mp4", HEVC),
    (".flv", H264),
    (".avi", H264),
    (".avi", "-c:v mpeg4 -q:v 1 -bf 2 -g 12 -sc_threshold 1000000000"),
    (".mpg", MPEG2),
    (".ts", MPEG2),
    (".webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M -g 12"),
    (".webm", "-c:v libsvtav1 -preset 13 -crf 5 -g 12 -svtav1-params scd=0"),
    (".mkv", "-c:v libvpx -b:v 2M -g 12 -auto-alt-ref 1 -lag-in-frames 10"),
]


@pytest.mark.parametrize(
    ("suffix", "encoder"),
    [pair if n < 2 else pytest.param(*pair, marks=pytest.mark.slow) for n, pair in enumerate(KEYFRAMES)],
)
def test_key_frames_have_their_own_times(tmp_path: Path, suffix: str, encoder: str) -> None:
    video = tmp_path / f"a{suffix}"
    side = "64x64"  # the smallest for some encoders
    source = NUMBERED.replace("32x32", side).format(rate=25, seconds=2.4)
    words = encoder.split()
    run_ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", *words, f"file:{video}")
    frames = seen(video, Keyframes())
    assert 4 <= len(frames) <= 20, frames
    for seconds, number in frames:
        assert seconds == pytest.approx(number / 25, abs=0.011), frames
    assert max(b - a for (_, a), (_, b) in pairwise(frames)) <= 13, frames
    thinned = seen(video, Keyframes(max_frames=2))
    assert len(thinned) == 2 and set(thinned) <= set(frames)


# MPEG-TS and -PS: one clock


SPLIT = 5.0  # from then on the picture is white and the tone sounds
PICTURE = f"color=black:size=64x64:rate=25:duration=12,geq=lum='if(gte(T,{SPLIT}),235,16)':cb=128:cr=128"
TONE = f"sine=frequency=440:duration=12,volume='gte(t,{SPLIT})':eval=frame"


def show(path: Path, *, pictures: str = "1", sound: str = "1") -> Path:
    """Picture and tone, each where its condition on the time t holds."""
    codec = ["-c:v", "mpeg2video", "-b:v", "1M"] if path.suffix == ".mpg" else ["-c:v", "libx264"]
    run_ffmpeg(
        *("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", TONE),
        *("-vf", f"select='{pictures}'", "-af", f"aselect='{sound}'", "-fps_mode", "passthrough"),
        *("-g", "25", "-ar", "44100", *codec, f"file:{path}"),
    )
    return path


def white_from(path: Path) -> float:
    batch = read(path, Rate(fps=25, min_frames=1))
    return next(float(t) for t, p in zip(batch.timestamps, batch.pixels, strict=True) if p.mean() > 128)


def tone_from(path: Path) -> float:
    command = [ffmpeg_binary(), "-i", f"file:{path}", "-af", "silencedetect=noise=-35dB:d=0.05", "-vn"]
    done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, check=True)
    found = re.search(rb"silence_end: ([\d.]+)", done.stderr)
    assert found is not None
    return float(found[1])


CLOCKS = [
    ("late.ts", {"pictures": "gte(t,2)"}),
    ("late.mpg", {"pictures": "gte(t,2)"}),
    ("late.mkv", {"pictures": "gte(t,2)"}),
    ("late.mp4", {"pictures": "gte(t,2)"}),
    ("gap.ts", {"pictures": "lt(t,1)+gte(t,4)"}),
    ("both.ts", {"pictures": "lt(t,1)+gte(t,4)", "sound": "lt(t,1)+gte(t,4)"}),
    ("sound.ts", {"sound": "gte(t,2)"}),
    ("sound.flv", {"sound": "gte(t,2)"}),
]


@pytest.mark.parametrize(
    ("name", "where"),
    [pair if n == 0 else pytest.param(*pair, marks=pytest.mark.slow) for n, pair in enumerate(CLOCKS)],
)
def test_picture_and_sound_share_the_clock_of_the_container(
    tmp_path: Path, name: str, where: dict[str, str]
) -> None:
    video = show(tmp_path / name, **where)
    assert white_from(video) == pytest.approx(SPLIT, abs=0.06)
    clip = tmp_path / "clip.mp4"
    cut_clip(video, clip, start_seconds=3.3, end_seconds=9.3)
    assert white_from(clip) == pytest.approx(SPLIT - 3.3, abs=0.07)
    assert tone_from(clip) == pytest.approx(SPLIT - 3.3, abs=0.07)


@pytest.mark.slow
def test_a_drop_out_longer_than_ten_seconds_stays_a_gap(tmp_path: Path) -> None:
    source = NUMBERED.format(rate=2, seconds=30) + ",select='lt(t,4)+gte(t,20)'"
    for suffix, codec in ((".ts", "libx264"), (".mkv", "libx264"), (".mp4", "libx264")):
        video = tmp_path / f"gap{suffix}"
        options = ["-c:v", codec, "-qp", "0", "-pix_fmt", "yuv420p", "-fps_mode", "passthrough"]
        run_ffmpeg("-f", "lavfi", "-i", source, *options, f"file:{video}")
        assert seen(video)[:6] == [(0, 0), (1, 2), (2, 4), (3, 6), (3.5, 7), (20, 40)]
        assert length(video) == pytest.approx(30, abs=0.51)
        assert frame_number(frame_at(video, 12.0)) == 7


# One picture and a song


SONGS = {
    ".mp4": "-c:v libx264 -c:a aac",
    ".mkv": "-c:v libx264 -c:a aac",
    ".mov": "-c:v mjpeg -c:a aac",
    ".avi": "-c:v mpeg4 -c:a mp3",
    ".flv": "-c:v flv -c:a aac",
    ".wmv": "-c:v wmv2 -c:a wmav2",
    ".webm": "-c:v libvpx -c:a libopus",
    ".ts": "-c:v mpeg2video -c:a mp2",
    ".mpg": "-c:v mpeg2video -c:a mp2",
}


@pytest.mark.parametrize("suffix", slow_but(*SONGS))
def test_one_picture_and_a_song_is_one_frame_as_long_as_the_song(tmp_path: Path, suffix: str) -> None:
    video = tmp_path / f"song{suffix}"
    picture = "color=white:size=32x32:rate=25:duration=0.04"
    words = SONGS[suffix].split()
    run_ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=duration=10", *words, f"file:{video}")
    for sampling in (Rate(), Uniform(num_frames=3), Keyframes()):
        assert seen(video, sampling) == [(pytest.approx(0, abs=0.06), 73)]
    assert length(video) == pytest.approx(10, abs=0.1)
    assert frame_at(video, 7.0).mean() > 240


# The track that players show


@pytest.mark.parametrize("suffix", slow_but(".mkv", ".mov", ".mp4", ".avi"))
def test_the_moving_pictures_are_chosen_not_a_still_beside_them(tmp_path: Path, suffix: str) -> None:
    clip, both = write(tmp_path / "clip.mp4"), tmp_path / f"both{suffix}"
    still = "color=white:size=64x64:rate=25:duration=0.04"
    run_ffmpeg(
        *("-f", "lavfi", "-i", still, "-i", f"file:{clip}", "-map", "0", "-map", "1"),
        *("-c:v:0", "mjpeg", "-c:v:1", "copy", f"file:{both}"),
    )
    assert [number for _, number in seen(both)] == [0, 10, 20, 30, 40, 50]
    assert frame_number(frame_at(both, 3.0)) == 30


def test_the_default_track_is_chosen_and_no_cover(tmp_path: Path) -> None:
    clip, second, cover = write(tmp_path / "clip.mp4"), tmp_path / "second.mkv", tmp_path / "cover.mp4"
    white = ("-f", "lavfi", "-i", "color=white:size=32x32:rate=10:duration=6")
    both = ("-i", f"file:{clip}", "-map", "0", "-map", "1")
    dispositions = ("-disposition:v:0", "0", "-disposition:v:1", "default")
    run_ffmpeg(*white, *both, *dispositions, "-c:v:0", "libx264", "-c:v:1", "copy", f"file:{second}")
    assert [number for _, number in seen(second)] == [0, 10, 20, 30, 40, 50]
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=white:size=32x32:rate=10:duration=0.1", *both),
        *("-c:v:0", "mjpeg", "-c:v:1", "copy", "-disposition:v:0", "attached_pic", f"file:{cover}"),
    )
    assert [number for _, number in seen(cover)] == [0, 10, 20, 30, 40, 50]


# Encrypted pictures


KEY = "00112233445566778899aabbccddeeff"
CENC = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", KEY, "-encryption_kid", KEY]
MOVING = "testsrc2=size=128x128:rate=10:duration=2"


@pytest.mark.parametrize(
    "encoder",
    slow_but(
        "-c:v libx264",
        "-c:v libx265 -x265-params log-level=none",
        "-c:v libx264 -movflags frag_keyframe+empty_moov",
        "-c:v mpeg4",
    ),
)
def test_common_encryption_without_a_key(tmp_path: Path, encoder: str) -> None:
    video = tmp_path / "a.mp4"
    run_ffmpeg("-f", "lavfi", "-i", MOVING, *encoder.split(), *CENC, f"file:{video}")
    assert reason(video) == "encrypted"
    with pytest.raises(VideoError, match="encrypted"):
        frame_at(video, 0.5)


def test_a_track_of_matroska_that_says_it_is_encrypted(tmp_path: Path) -> None:
    clear, marked = write(tmp_path / "clear.mkv"), tmp_path / "marked.mkv"
    assert not looks_encrypted(clear, "matroska", None)
    # ContentEncodings { ContentEncoding { ContentEncodingType 1, ContentEncryption { ContentEncAlgo 5 } } }
    encryption = bytes.fromhex("6d808d 6240 8a 503381 01 503584 47e18105")
    marked.write_bytes(clear.read_bytes()[:300] + encryption)
    assert looks_encrypted(marked, "matroska", None)


def test_scrambled_transport_and_program_streams(tmp_path: Path) -> None:
    noise = random.Random(1)
    clear = make_video(tmp_path / "clear.ts", MOVING)
    packets = bytearray(clear.read_bytes())
    for at in range(0, len(packets), 188):
        if (packets[at + 1] & 31) << 8 | packets[at + 2] == 0x100:
            packets[at + 3] |= 0x80
            begin = at + 4 + (1 + packets[at + 4] if packets[at + 3] & 0x20 else 0)
            packets[begin : at + 188] = noise.randbytes(at + 188 - begin)
    (tmp_path / "scrambled.ts").write_bytes(packets)
    assert reason(tmp_path / "scrambled.ts") == "encrypted"
    assert len(seen(clear)) == 2
    disc = tmp_path / "clear.vob"
    run_ffmpeg("-f", "lavfi", "-i", MOVING, "-r", "25", "-c:v", "mpeg2video", "-f", "vob", f"file:{disc}")
    content, at = bytearray(disc.read_bytes()), 0
    while (at := content.find(b"\x00\x00\x01\xe0", at)) >= 0:
        content[at + 6] |= 0x30
        end = at + 6 + (content[at + 4] << 8 | content[at + 5])
        content[at + 80 : end] = noise.randbytes(max(0, end - at - 80))
        at += 6
    (tmp_path / "scrambled.vob").write_bytes(content)
    assert reason(tmp_path / "scrambled.vob") == "encrypted"
    assert len(seen(disc)) == 2


# The inputs of data/faults


def bits(pixels: object) -> int:
    """The number of a frame that carries it as a grid of 4 x 4 squares, after a first square that is always dark."""
    grey = pixels.mean(axis=2)  # type: ignore[attr-defined]
    side = grey.shape[0] // 4
    total = 0
    for k in range(1, 16):
        top, left = k // 4 * side, k % 4 * side
        square = grey[top + side // 4 : top + side * 3 // 4, left + side // 4 : left + side * 3 // 4]
        total |= int(square.mean() > 128) << (k - 1)
    return total


def faulty(test_data: Path, name: str, sampling: Sampling) -> tuple[list[float], list[int], float]:
    """Times, numbers and length."""
    with open_video(test_data / "faults" / name, sampling, size=64) as reader:
        batches = list(reader)
    times = [float(t) for batch in batches for t in batch.timestamps]
    return times, [bits(p) for batch in batches for p in batch.pixels], reader.info.duration_seconds or 0.0


@pytest.mark.parametrize(
    ("name", "rate", "seconds"), [("01_two_recordings.ts", 5, 40), ("01_header_says_10s_of_30s.mkv", 25, 30)]
)
def test_given_lengths(test_data: Path, name: str, rate: int, seconds: int) -> None:
    times, numbers, found = faulty(test_data, name, Rate(fps=0.5, min_frames=1))
    assert found == pytest.approx(seconds)
    assert times == pytest.approx([2 * n for n in range(seconds // 2)])
    assert numbers == [round(t * rate) for t in times]


@pytest.mark.parametrize(
    ("name", "count"),
    [("02_open_gop.mkv", 30), ("02_bframes.mp4", 15), ("02_bframes.avi", 11), ("02_vp9.webm", 5)],
)
def test_given_key_frames(test_data: Path, name: str, count: int) -> None:
    times, numbers, _ = faulty(test_data, name, Keyframes())
    assert len(times) == count and times == pytest.approx([n / 25 for n in numbers])
    times, numbers, _ = faulty(test_data, name, Rate())
    assert times == pytest.approx([n / 25 for n in numbers])


@pytest.mark.slow
def test_the_given_download(test_data: Path) -> None:
    times, _, found = faulty(test_data, "03_truncated.mkv", Uniform(num_frames=12))
    assert len(times) == 12 and found == pytest.approx(195.8, abs=0.3)


def test_given_broadcasts(test_data: Path) -> None:
    times, numbers, _ = faulty(test_data, "05_picture_starts_2s_after_sound.ts", Rate())
    assert times == pytest.approx([2.064 + n / 25 for n in numbers], abs=1e-3)
    times, numbers, _ = faulty(test_data, "05_picture_drops_out_16s.ts", Rate())
    # 32 frames, then 16.5 s of nothing
    assert times == pytest.approx([0.128 + n / 4 for n in numbers], abs=1e-3)
    assert not any(8.2 < t < 24 for t in times) and max(times) > 38


def test_the_other_given_files(test_data: Path) -> None:
    assert faulty(test_data, "04_negative_duration.mp4", Keyframes())[0] == [0.0]
    times, _, found = faulty(test_data, "06_one_picture_and_a_song.mp4", Rate())
    assert times == [0.0] and found == pytest.approx(10)
    times, numbers, _ = faulty(test_data, "12_jpeg_track_first.mkv", Uniform(num_frames=4))
    assert times == pytest.approx([(n - 5000) / 25 for n in numbers])
    assert reason(test_data / "faults" / "13_cenc_no_key.mp4") == "encrypted"
