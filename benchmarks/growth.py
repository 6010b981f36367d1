"""Does the cost of a file grow with their number? Many tiny videos, many files that are none, one very long film.

    python benchmarks/growth.py --videos 1000,5000 --others 20000,100000 --hours 1,3

Per run of `vtr extract --backbone demo`: processor time (vtr and its ffmpeg) per file or per hour, and the largest
memory. Processor time, because a shared machine tells nothing by the clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vtrcli.video.ffmpeg import ffmpeg_binary


def measured(paths: list[Path], store: Path) -> tuple[float, float]:
    """Processor seconds and mebibytes (of the largest process) of an extraction."""
    command = [sys.executable, "-m", "vtrcli", "extract", *map(str, paths), "--store", str(store)]
    command += ["--backbone", "demo", "--device", "cpu", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"vtr extract ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def drawn(path: Path, *, seconds: float, options: tuple[str, ...] = ()) -> Path:
    source = f"testsrc2=size=64x48:rate=10:duration={seconds}"
    command = [ffmpeg_binary(), "-v", "error", "-y", *options, "-f", "lavfi", "-i", source]
    subprocess.run([*command, "-c:v", "libx264", "-preset", "ultrafast", str(path)], check=True)
    return path


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",") if part]

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=numbers, default=[1000, 5000])
    parser.add_argument("--others", type=numbers, default=[20000, 100000])
    parser.add_argument("--hours", type=numbers, default=[1, 3])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = drawn(folder / "one.mp4", seconds=1)
        base, memory = measured([one], folder / "store-one")
        print(f"one video of a second: {base:.1f} s of processor time in all, {memory:.0f} MiB", flush=True)
        for count in chosen.videos:
            videos = folder / f"videos{count}"
            videos.mkdir()
            for number in range(count):  # bytes behind the last box: another file with the same pictures
                (videos / f"{number}.mp4").write_bytes(one.read_bytes() + number.to_bytes(4, "big") * 4)
            seconds, memory = measured([videos], folder / f"store-videos{count}")
            print(
                f"{count} videos: {1000 * (seconds - base) / count:.1f} ms a video, {memory:.0f} MiB",
                flush=True,
            )
        for count in chosen.others:
            others = folder / f"others{count}"
            for number in range(count):
                path = others / str(number // 1000) / f"{number}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"no video")
            seconds, memory = measured([one, others], folder / f"store-others{count}")
            print(
                f"{count} others: {1e6 * (seconds - base) / count:.0f} us a file, {memory:.0f} MiB",
                flush=True,
            )
        minute = drawn(folder / "minute.mp4", seconds=60)
        for hours in chosen.hours:
            film = folder / f"film{hours}.mp4"
            loop = [ffmpeg_binary(), "-v", "error", "-stream_loop", str(60 * hours - 1), "-i", str(minute)]
            subprocess.run([*loop, "-c", "copy", str(film)], check=True)
            seconds, memory = measured([film], folder / f"store-film{hours}")
            print(f"{hours} h film: {(seconds - base) / hours:.1f} s an hour, {memory:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
