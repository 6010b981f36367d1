"""Decoding speed: `open_video` against one plain ffmpeg pass and against PyAV, on files that this script makes.

Run: python benchmarks/decode.py [--work DIR] [--rounds N] [--threads N]      (needs the `bench` extra: PyAV)

All ways take turns in the same process, each delivers the same number of 224 x 224 RGB frames, and ours includes
its probe. The best of the rounds is compared; beside it stand the median and the processor time (children
included), which says more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Keyframes, Uniform

SIZE = 224
NUM_FRAMES = 12

Way = Callable[[Path, float, int], int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="keeps the two files there (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="decoder threads, the same for every way")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        short = make_file(folder / "short_12s_320x240.mp4", "320x240", 12, "-preset medium")
        long = make_file(
            folder / "long_600s_720p_gop250.mp4",
            "1280x720",
            600,
            "-preset ultrafast -b:v 2500k -g 250 -keyint_min 250 -sc_threshold 0",
        )
        report = {
            "short": compare(short, 12.0, options, linear_rounds=options.rounds),
            "long": compare(long, 600.0, options, linear_rounds=min(2, options.rounds)),
        }
    if options.json:
        print(json.dumps(report))
    else:
        show(report)


def make_file(path: Path, size: str, duration_seconds: int, encoder: str) -> Path:
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.mp4")
        source = f"testsrc2=size={size}:rate=25:duration={duration_seconds}"
        command = [ffmpeg_binary(), "-v", "error", "-y", "-f", "lavfi", "-i", source, "-c:v", "libx264"]
        subprocess.run([*command, "-pix_fmt", "yuv420p", *encoder.split(), str(partial)], check=True)
        partial.rename(path)
    return path


def compare(path: Path, seconds: float, options: argparse.Namespace, *, linear_rounds: int) -> dict[str, Any]:
    """Best and median time of every way over the rounds; slow ways run in the first `linear_rounds` only."""
    ways: dict[str, tuple[Way, int]] = {
        "vtr": (vtr_uniform, options.rounds),
        "ffmpeg linear": (ffmpeg_linear, linear_rounds),
        "PyAV linear": (pyav_linear, linear_rounds),
        "PyAV seeks": (pyav_seeks, options.rounds),
        "vtr key frames": (vtr_keyframes, options.rounds),
        "ffmpeg key frames": (ffmpeg_keyframes, options.rounds),
        "PyAV key frames": (pyav_keyframes, options.rounds),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(options.rounds):
        for name, (way, rounds) in ways.items():
            if index < rounds:
                started, processor = time.perf_counter(), processor_seconds()
                count = way(path, seconds, options.threads)
                times[name].append(time.perf_counter() - started)
                work[name].append(processor_seconds() - processor)
                if "key" not in name and count != NUM_FRAMES:
                    raise SystemExit(f"{name} gave {count} frames, not {NUM_FRAMES}")
    best = {name: min(values) for name, values in times.items()}
    rival = min(best["ffmpeg linear"], best["PyAV seeks"])
    return {
        "best_seconds": best,
        "median_seconds": {name: statistics.median(values) for name, values in times.items()},
        "processor_seconds": {name: statistics.median(values) for name, values in work.items()},
        "ratio_to_better": best["vtr"] / rival,
        "linear_over_keyframes": best["ffmpeg linear"] / best["vtr key frames"],
    }


def processor_seconds() -> float:
    """Of this process and its children that have ended."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def show(report: dict[str, Any]) -> None:
    for name, part in report.items():
        print(f"{name}: {'best':>34} {'median':>11} {'processor':>9}")
        for way, best in part["best_seconds"].items():
            more = f"{part['median_seconds'][way]:7.3f} s {part['processor_seconds'][way]:7.3f} s"
            print(f"  {way:<30} {best:7.3f} s {more}")
        print(f"  vtr / better of ffmpeg linear and PyAV seeks: {part['ratio_to_better']:.2f}")
        print(f"  ffmpeg linear / vtr key frames: {part['linear_over_keyframes']:.1f}")


def vtr_uniform(path: Path, seconds: float, threads: int) -> int:
    with open_video(path, Uniform(num_frames=NUM_FRAMES), size=SIZE, num_threads=threads) as reader:
        return sum(len(batch.timestamps) for batch in reader)


def vtr_keyframes(path: Path, seconds: float, threads: int) -> int:
    with open_video(path, Keyframes(), size=SIZE, num_threads=threads) as reader:
        return sum(len(batch.timestamps) for batch in reader)


def ffmpeg_linear(path: Path, seconds: float, threads: int) -> int:
    return run_ffmpeg(path, threads, [], f"fps={NUM_FRAMES / seconds}")


def ffmpeg_keyframes(path: Path, seconds: float, threads: int) -> int:
    return run_ffmpeg(path, threads, ["-skip_frame", "nokey"], "null")


def run_ffmpeg(path: Path, threads: int, before: list[str], select: str) -> int:
    scale = f"scale=-1:{SIZE}:flags=bicubic,crop={SIZE}:{SIZE}"
    command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-threads", str(threads), *before, "-i", str(path)]
    output = [
        "-vf",
        f"{select},{scale}",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    done = subprocess.run([*command, *output], check=True, capture_output=True)
    return len(np.frombuffer(done.stdout, np.uint8).reshape(-1, SIZE, SIZE, 3))


def pyav_linear(path: Path, seconds: float, threads: int) -> int:
    targets = iter(segment_centres(seconds))
    pictures = []
    with open_pyav(path, threads) as container:
        target: float | None = next(targets)
        on_display = None
        for frame in container.decode(video=0):
            while target is not None and frame.time > target and on_display is not None:
                pictures.append(to_square(on_display))
                target = next(targets, None)
            if target is None:
                break
            on_display = frame
    return len(pictures)


def pyav_seeks(path: Path, seconds: float, threads: int) -> int:
    pictures = []
    with open_pyav(path, threads) as container:
        stream = container.streams.video[0]
        for target in segment_centres(seconds):
            container.seek(int(target / stream.time_base), stream=stream)
            on_display = None
            for frame in container.decode(stream):
                if frame.time > target:
                    break
                on_display = frame
            pictures.append(to_square(on_display))
    return len(pictures)


def pyav_keyframes(path: Path, seconds: float, threads: int) -> int:
    with open_pyav(path, threads) as container:
        container.streams.video[0].codec_context.skip_frame = "NONKEY"
        return len([to_square(frame) for frame in container.decode(video=0)])


def open_pyav(path: Path, threads: int) -> Any:
    container = av.open(str(path))
    context = container.streams.video[0].codec_context
    context.thread_count = threads
    context.thread_type = "AUTO" if threads > 1 else "NONE"
    return container


def to_square(frame: Any) -> np.ndarray[Any, Any]:
    width = SIZE * frame.width // frame.height
    left = (width - SIZE) // 2
    scaled = frame.to_ndarray(width=width, height=SIZE, format="rgb24", interpolation="BICUBIC")
    return np.ascontiguousarray(scaled[:, left : left + SIZE])


def segment_centres(seconds: float) -> list[float]:
    return [(index + 0.5) * seconds / NUM_FRAMES for index in range(NUM_FRAMES)]


if __name__ == "__main__":
    main()
