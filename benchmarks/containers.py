"""Which frame, at which time: vtr against PyAV over every codec x container pair that the bundled ffmpeg writes.

Run: python benchmarks/containers.py [--work DIR] [--codecs a,b] [--containers a,b]     (needs the `bench` extra: PyAV)

100 frames, 25 a second, each with its number drawn as bits, are written by every video encoder of the bundled ffmpeg
(but those that need special hardware or write single pictures) into every container that vtr opens; the pairs that
ffmpeg refuses are passed over. PyAV decodes each file whole: that tells which frames it holds and which of them are
key frames. Of vtr's frames (default sampling and `--keyframes`) the number and the time must be right, the time being
number / 25 seconds: the truth by construction, counted from the container's start or, where its packets say that the
first frame appears later, from there. PyAV's own times are counted too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from vtrcli.errors import VideoError
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Keyframes, Rate, Sampling

NUM_FRAMES, RATE, GRID = 100, 25, 4
NOISE = 12  # so that a frame has as many bytes as usual: MPEG containers stamp times once per 2 KB or so
# The coarsest clock (GIF) counts in hundredths; nothing may be off by half a frame.
TOLERANCE_SECONDS = 0.011
# Of the length: headers count the delay of reordering in.
LENGTH_TOLERANCE_SECONDS = 0.2
ENCODE_SECONDS = 120

# Encoders: what they need beside the defaults (size, options). Those that are not named take 64 x 64.
SIZES = {
    "h261": (352, 288),
    "h263": (352, 288),
    "dvvideo": (720, 576),
    "dnxhd": (1280, 720),
    "cfhd": (256, 256),
}
SIZES |= {"libsvtav1": (128, 128), "librav1e": (128, 128), "libvvenc": (128, 128), "libkvazaar": (128, 128)}
SIZES |= {"avui": (720, 576), "svq1": (160, 128), "roqvideo": (256, 256), "speedhq": (128, 128)}
OPTIONS = {
    "libx264": "-preset veryfast -bf 3 -g 12",
    "libx265": "-preset ultrafast -bf 3 -g 12 -x265-params log-level=none",
    "libvpx": "-deadline realtime -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 10 -g 12 -b:v 500k",
    "libvpx-vp9": "-deadline realtime -cpu-used 8 -g 12 -b:v 500k",
    "libaom-av1": "-usage realtime -cpu-used 10 -g 12 -b:v 500k",
    "libsvtav1": "-preset 13 -g 12",
    "librav1e": "-speed 10 -g 12",
    "libvvenc": "-preset faster -g 16",
    "mpeg1video": "-bf 2 -g 12 -b:v 1M",
    "mpeg2video": "-bf 2 -g 12 -b:v 1M",
    "mpeg4": "-bf 2 -g 12 -q:v 3",
    "libxvid": "-bf 2 -g 12 -q:v 3",
    "dnxhd": "-profile:v dnxhr_lb",
    "snow": "-strict -2",
    "svq1": "-g 12",
    "libtheora": "-q:v 8 -g 12",
}
# Variants of one codec that containers treat differently.
VARIANTS = {
    "libx264 open groups": ("libx264", "-preset veryfast -bf 3 -g 12 -x264-params open-gop=1"),
    "libx264 no B": ("libx264", "-preset veryfast -bf 0 -g 12"),
    "libx264 intra": ("libx264", "-preset veryfast -g 1"),
    "libx265 open groups": (
        "libx265",
        "-preset ultrafast -bf 3 -g 12 -x265-params log-level=none:open-gop=1",
    ),
    "mpeg4 no B": ("mpeg4", "-bf 0 -g 12 -q:v 3"),
    "mpeg2video closed": ("mpeg2video", "-bf 2 -g 12 -b:v 1M -flags +cgop"),
}
NOT_HERE = ("nvenc", "qsv", "vaapi", "amf", "v4l2m2m", "vulkan", "videotoolbox", "mediafoundation")
# They write one picture, text, two colours, or nothing that a decoder takes back.
NO_VIDEO = set(
    "a64multi a64multi5 alias_pix apng bmp dpx exr fits hdr jpeg2000 libopenjpeg jpegls libjxl libjxl_anim ljpeg pam"
    " pbm pcx pfm pgm pgmyuv phm png ppm qoi sgi sunrast targa tiff vbn vnull wbmp libwebp_anim libwebp xbm xface xwd"
    " wrapped_avframe".split()
)
# Muxer -> suffix, for the containers among vtr's demuxers.
CONTAINERS = {
    "3g2": "3g2",
    "3gp": "3gp",
    "asf": "wmv",
    "avi": "avi",
    "dnxhd": "dnxhd",
    "dv": "dv",
    "dvd": "vob",
    "f4v": "f4v",
    "flv": "flv",
    "gif": "gif",
    "h261": "h261",
    "h263": "h263",
    "h264": "h264",
    "hevc": "hevc",
    "ipod": "m4v",
    "ismv": "ismv",
    "ivf": "ivf",
    "m4v": "m4v",
    "matroska": "mkv",
    "mjpeg": "mjpeg",
    "mov": "mov",
    "mp4": "mp4",
    "mp4 fragments": "mp4",
    "mpeg": "mpg",
    "mpeg1video": "m1v",
    "mpeg2video": "m2v",
    "mpegts": "ts",
    "mpegts m2ts": "m2ts",
    "mxf": "mxf",
    "nut": "nut",
    "obu": "obu",
    "ogg": "ogv",
    "psp": "mp4",
    "rm": "rm",
    "svcd": "mpg",
    "vc1": "vc1",
    "vcd": "mpg",
    "vvc": "vvc",
    "webm": "webm",
    "wtv": "wtv",
    "yuv4mpegpipe": "y4m",
}
MUXER_OPTIONS = {
    "mp4 fragments": "-movflags frag_keyframe+empty_moov -f mp4",
    "mpegts m2ts": "-mpegts_m2ts_mode 1 -f mpegts",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="keeps the files there (default: a temporary folder)")
    parser.add_argument("--codecs", help="only these, with commas between them")
    parser.add_argument("--containers", help="only these, with commas between them")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    codecs = options.codecs.split(",") if options.codecs else [*encoders(), *VARIANTS]
    containers = options.containers.split(",") if options.containers else list(CONTAINERS)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        folder = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for size in {(64, 64), *SIZES.values()}:
            write_frames(folder / f"frames_{size[0]}x{size[1]}.y4m", *size)
        pairs = [(codec, container) for codec in codecs for container in containers]
        rows = [row for row in pool.map(lambda pair: check(folder, *pair), pairs) if row]
    show(rows)


def encoders() -> list[str]:
    """Names of the video encoders that run anywhere."""
    listing = subprocess.run(
        [ffmpeg_binary(), "-hide_banner", "-encoders"], capture_output=True, text=True, check=True
    ).stdout
    names = [line.split()[1] for line in listing.splitlines() if line.startswith(" V")]
    return [n for n in names if n not in NO_VIDEO and n != "=" and not any(part in n for part in NOT_HERE)]


def write_frames(path: Path, width: int, height: int) -> None:
    """Raw frames; in the middle of frame n a grid of 4 x 4 squares, bit k of n + 1 in square k: bright for 1. With
    noise."""
    random = np.random.default_rng(0)
    if path.exists():
        return
    side = min(width, height)
    y, x = ((np.arange(d) - (d - side) // 2).clip(0, side - 1) * GRID // side for d in (height, width))
    bit = y[:, None] * GRID + x[None, :]
    chroma = bytes([128]) * (width // 2 * (height // 2) * 2)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(NUM_FRAMES):
            noise = random.integers(-NOISE, NOISE + 1, bit.shape)
            luma = np.where((number + 1) >> bit & 1, 220, 32) + noise
            file.write(b"FRAME\n" + luma.astype(np.uint8).tobytes() + chroma)


def number_of(pixels: NDArray[np.uint8]) -> int:
    """The number of a frame, or a number that no frame has."""
    side = min(pixels.shape[:2])
    top, left = ((d - side) // 2 for d in pixels.shape[:2])
    grey = pixels[top : top + side, left : left + side].mean(axis=2)
    height = width = side
    total = 0
    for k in range(GRID * GRID):
        top, left = k // GRID * height // GRID, k % GRID * width // GRID
        square = grey[top + height // 16 : top + height // 5, left + width // 16 : left + width // 5]
        total |= int(square.mean() > 128) << k
    return total - 1


def write(folder: Path, codec: str, container: str) -> Path | None:
    """The file of a pair; None where ffmpeg refuses it."""
    encoder, words = VARIANTS.get(codec, (codec, OPTIONS.get(codec, "-g 12")))
    width, height = SIZES.get(encoder, (64, 64))
    path = folder / f"{codec}_{container}.{CONTAINERS[container]}".replace(" ", "_")
    if not path.exists():
        command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-y"]
        command += ["-i", str(folder / f"frames_{width}x{height}.y4m"), "-c:v", encoder, *words.split()]
        command += MUXER_OPTIONS.get(container, f"-f {container}").split()
        try:
            done = subprocess.run([*command, str(path)], capture_output=True, timeout=ENCODE_SECONDS)
        except subprocess.TimeoutExpired:
            done = None
        if done is None or done.returncode:
            path.write_bytes(b"")  # remembered
    return path if path.stat().st_size else None


def check(folder: Path, codec: str, container: str) -> dict[str, str] | None:
    """One row: what PyAV and vtr make of a pair; None for pairs that cannot be written or that PyAV cannot read."""
    path = write(folder, codec, container)
    if path is None:
        return None
    row = {"codec": codec, "container": container}
    reference = pyav_frames(path)
    if not reference or len({frame.number for frame in reference} & set(range(NUM_FRAMES))) < len(reference):
        return None  # nothing to compare with: another format under this name, or the bits do not survive
    first = first_seconds(path)
    off = min(
        max(abs(frame.seconds - frame.number / RATE - start) for frame in reference) for start in (0.0, first)
    )
    row["PyAV times"] = "right" if off <= TOLERANCE_SECONDS else f"off by {off:.3f} s"
    held = sorted(frame.number for frame in reference)
    row["default"] = best(path, Rate(), [held], first)
    # what the decoder calls a key frame, or what the container does
    keys = [[frame.number for frame in reference if frame.is_key_of[place]] for place in (0, 1)]
    row["key frames"] = best(path, Keyframes(), keys, first)
    return row


def best(path: Path, sampling: Sampling, candidates: list[list[int]], first: float) -> str:
    """ "right" if vtr is right by one of the references, counted from 0 or from `first`."""
    starts = [0.0] if first <= TOLERANCE_SECONDS else [0.0, first]
    # old codecs mark no key frame at all: then the times alone count
    known: list[list[int] | None] = [numbers for numbers in candidates if numbers]
    verdicts = [judge(path, sampling, numbers, start) for numbers in known or [None] for start in starts]
    return "right" if "right" in verdicts else verdicts[0]


def first_seconds(path: Path) -> float:
    """When the first frame appears after the container's start, as its packets say; 0 where they say nothing."""
    with av.open(str(path)) as file:
        times = [packet.pts for packet in file.demux(video=0) if packet.size]
        stream = file.streams.video[0]
        shown = [time for time in times if time is not None]
        if not shown or len(shown) < len(times) or stream.time_base is None:
            return 0.0
        return float(min(shown) * stream.time_base - (file.start_time or 0) / av.time_base)


class Reference(NamedTuple):
    """A frame as PyAV decodes it: its number, its time from the container's start, and whether it is a key frame by its
    decoder and by its packet."""

    number: int
    seconds: float
    is_key_of: tuple[bool, bool]


def pyav_frames(path: Path) -> list[Reference]:
    """Every frame of the file; none where PyAV cannot read it."""
    try:
        with av.open(str(path)) as file:
            key_times = {packet.pts for packet in file.demux(video=0) if packet.is_keyframe}
        with av.open(str(path)) as file:
            start = (file.start_time or 0) / av.time_base
            return [
                Reference(
                    number_of(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)),
                    float("nan") if frame.time is None else frame.time - start,
                    (bool(frame.key_frame), frame.pts in key_times),
                )
                for frame in file.decode(video=0)
            ]
    except (av.error.FFmpegError, IndexError, ValueError):
        return []


def judge(path: Path, sampling: Sampling, candidates: list[int] | None, first: float) -> str:
    """ "right", or what is wrong with vtr's frames; `candidates` are the numbers of the frames that may be taken,
    `first` the time of frame 0."""
    numbers: list[int] = []
    times: list[float] = []
    try:
        with open_video(path, sampling, size=64, aspect="pixels") as reader:
            for batch in reader:
                times += batch.timestamps.tolist()
                numbers += [number_of(pixels) for pixels in batch.pixels]
    except VideoError as error:
        return f"{error.reason}: {error.detail}"
    length = reader.info.duration_seconds or 0.0
    if (
        not isinstance(sampling, Keyframes)
        and abs(length - first - NUM_FRAMES / RATE) > LENGTH_TOLERANCE_SECONDS
    ):
        return f"length {length:.2f} s"
    wanted = numbers if candidates is None else candidates
    if candidates is not None and not isinstance(sampling, Keyframes):
        # an exact hit may fall to either side of a rounded time stamp
        ways = [expected(sampling, candidates, length, first + slack) for slack in (0, 1e-3, -1e-3)]
        wanted = numbers if numbers in ways else ways[0]
    if numbers != wanted:
        return f"frames {numbers} instead of {wanted}"
    off = max(abs(seconds - number / RATE - first) for number, seconds in zip(numbers, times, strict=True))
    return "right" if off <= TOLERANCE_SECONDS else f"times off by {off:.3f} s"


def expected(sampling: Sampling, candidates: list[int], length: float, first: float) -> list[int]:
    """The numbers of the frames on display at the sampling's times."""
    targets = sampling.times(length)
    assert targets is not None
    shown = [max((n for n in candidates if n / RATE + first <= t + 1e-6), default=-1) for t in targets]
    return [number for number in dict.fromkeys(shown) if number >= 0]


def show(rows: list[dict[str, str]]) -> None:
    for row in rows:
        if row["default"] != "right" or row["key frames"] != "right":
            print(
                f"{row['codec']} in {row['container']}: default {row['default']}; key frames {row['key frames']}; "
                f"PyAV's times {row['PyAV times']}"
            )
    print(
        f"{len(rows)} pairs of {len({r['codec'] for r in rows})} encoders and their variants with "
        f"{len({r['container'] for r in rows})} containers"
    )
    for column in ("default", "key frames", "PyAV times"):
        print(f"{column}: {sum(row[column] == 'right' for row in rows)} right")
    if any(row["default"] != "right" or row["key frames"] != "right" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
