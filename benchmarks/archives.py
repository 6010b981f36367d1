"""An archive of features, and of their captions', of a tower that is not here: import, train, evaluate, search, export.

Each video is a direction; its frames and its captions are that direction and noise. Every step is a command in a
process of its own, with its seconds (wall and processor) and the most memory that it held.

    python benchmarks/archives.py                       # 1,000 videos x 12 x 512, two captions each
    python benchmarks/archives.py --videos 83334        # a million rows; --no-train leaves training out
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BACKBONE = "my-tower"
LAYOUTS = ("npz", "npy", "parquet")


def write_archive(folder: Path, *, num_videos: int, num_frames: int, dim: int, seed: int = 0) -> None:
    """`videos/*.npz` as moment_detr has them, `captions.npy` in the order of `captions.csv`; a tenth is for each of
    val and test."""
    rng = np.random.default_rng(seed)
    (folder / "videos").mkdir(parents=True)
    directions = rng.standard_normal((num_videos, dim), np.float32)
    texts = []
    with open(folder / "captions.csv", "w", encoding="utf-8") as table:
        table.write("video_id,caption,split\n")
        for number, direction in enumerate(directions):
            video_id, split = f"v{number:06d}", ("val", "test")[number % 10] if number % 10 < 2 else "train"
            frames = direction + 2 * rng.standard_normal((num_frames, dim), np.float32)
            np.savez(folder / "videos" / f"{video_id}.npz", features=frames)
            for caption in range(2):
                table.write(f"{video_id},caption {caption} of {video_id},{split}\n")
                texts.append(direction + 6 * rng.standard_normal(dim, np.float32))
    np.save(folder / "captions.npy", np.stack(texts))


def run(*arguments: str, folder: Path) -> None:
    """A command of vtr; prints what it took and the last line that it wrote."""
    started = time.monotonic()
    command = [sys.executable, "-m", "vtrcli", *arguments]
    with open(folder / "output.txt", "w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        seconds, cpu = time.monotonic() - started, used.ru_utime + used.ru_stime
        memory = used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
        output.seek(0)
        lines = [line.strip() for line in output.read().splitlines() if line.strip()]
    print(f"{seconds:7.1f} s {cpu:7.1f} s {memory:7.0f} MiB  vtr {' '.join(arguments)}")
    shown = (
        [line for line in lines if line[:3] in ("t2v", "v2t")][:4] if arguments[0] == "eval" else lines[-1:]
    )
    print(*(f"{'':31}{line}" for line in shown), sep="\n")
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--no-train", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: what a child holds is counted from what its parent held when it began.
        sizes = {"num_videos": options.videos, "num_frames": options.frames, "dim": options.dim}
        writer = multiprocessing.get_context("spawn").Process(
            target=write_archive, args=(folder,), kwargs=sizes
        )
        writer.start()
        writer.join()
        print(f"{options.videos:,} videos x {options.frames} x {options.dim}\n   wall     processor  memory")
        data = ("--dataset", "csv", "--annotations", "captions.csv")
        run(
            "store",
            "import",
            "videos",
            "--fps",
            "0.5",
            "--backbone",
            BACKBONE,
            "--store",
            "store",
            folder=folder,
        )
        table = ("--captions", "--table", "captions.csv", *data)
        run("store", "import", "captions.npy", *table, "--store", "store", folder=folder)
        if not options.no_train:
            how = ("--store", "store", "--tagger", "none", *data)
            run("train", *how, "--out", "runs/a", "--epochs", "5", folder=folder)
            run("eval", *how, "--run", "none", "--dsl", folder=folder)
            run("eval", *how, "--run", "runs/a", "--dsl", folder=folder)
            run("search", "--like", "v000003", "--store", "store", "--run", "runs/a", folder=folder)
        run(
            "search",
            "--like",
            "v000003@0:04",
            "--moments",
            "--store",
            "store",
            "--run",
            "none",
            folder=folder,
        )
        for layout in LAYOUTS:
            run("store", "export", "--as", layout, "-o", layout, "--store", "store", folder=folder)
            run("store", "import", layout, "--store", f"back-{layout}", folder=folder)
            same = equal_stores(folder / "store", folder / f"back-{layout}")
            print(f"{'':31}the same bit for bit: {same}")


def equal_stores(one: Path, other: Path) -> bool:
    """Whether two stores have the same videos with the same rows."""
    from vtrcli.store.reader import FeatureStore

    first, second = FeatureStore(one), FeatureStore(other)
    return list(first.videos) == list(second.videos) and all(
        first.features(name).tobytes() == second.features(name).tobytes()
        and first.timestamps(name).tobytes() == second.timestamps(name).tobytes()
        for name in first.videos
    )


if __name__ == "__main__":
    main()
