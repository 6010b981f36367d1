"""How soon a video plays from its middle: the file itself, repacked, or encoded.

    python benchmarks/playing.py [--seconds 120] [--runs 5]

Makes three files of the same 720p pictures (MP4, MKV, AVI) and asks for the first piece of a stream from the middle
on: what a browser needs to show the first frame. `direct` reads the first and last 256 KiB and as much from the middle
of the MP4. Then how long the encoder takes per second of video. Medians; ratios are to `remux`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vtrcli.video.encode import encoder_names
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.playback import open_stream, playback
from vtrcli.video.probe import probe

PIECE_BYTES = 1 << 18
KINDS = {
    "a.mp4": ["-c:v", "libx264", "-preset", "ultrafast", "-movflags", "+faststart"],
    "a.mkv": ["-c:v", "libx264", "-preset", "ultrafast"],
    "a.avi": ["-c:v", "mpeg4", "-q:v", "4"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [made(Path(folder) / name, options.seconds) for name in KINDS]
        middle = options.seconds / 2
        direct = median(options.runs, lambda: read_parts(paths[0]))
        print(f"direct     {1000 * direct:7.1f} ms")
        repacked = 0.0
        for path in paths[1:]:
            info = probe(path)
            how = playback(info, encoders=encoder_names())

            def first() -> None:
                open_stream(info, how, start_seconds=middle).close()  # noqa: B023

            seconds = median(options.runs, first)
            repacked = repacked or seconds
            print(f"{how.kind:10} {1000 * seconds:7.1f} ms {seconds / repacked:6.1f}   {path.suffix}")
            print(
                f"  all of it from there: {speed(path, middle, options.seconds):.1f} times as fast as it plays"
            )
        asked = median(options.runs, lambda: probe(paths[2]))
        print(f"and before any of them, once per file: {1000 * asked:.1f} ms to look at it")


def made(path: Path, seconds: int) -> Path:
    source = f"testsrc2=size=1280x720:rate=25:duration={seconds}"
    sound = [
        "-f",
        "lavfi",
        "-i",
        f"sine=duration={seconds}",
        "-c:a",
        "aac" if path.suffix != ".avi" else "mp3",
    ]
    command = [ffmpeg_binary(), "-v", "error", "-f", "lavfi", "-i", source, *sound, "-g", "250"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", *KINDS[path.name], str(path)], check=True)
    return path


def read_parts(path: Path) -> None:
    with open(path, "rb", buffering=0) as file:
        size = file.seek(0, 2)
        for at in (0, size - PIECE_BYTES, size // 2):
            file.seek(at)
            file.read(PIECE_BYTES)


def speed(path: Path, start_seconds: float, seconds: int) -> float:
    info = probe(path)
    stream = open_stream(info, playback(info, encoders=encoder_names()), start_seconds=start_seconds)
    started = time.perf_counter()
    while stream.read():
        pass
    stream.close()
    return (seconds - start_seconds) / (time.perf_counter() - started)


def median(runs: int, act: Callable[[], object]) -> float:
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        act()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


if __name__ == "__main__":
    main()
