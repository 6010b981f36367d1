"""From one process to two: extraction by parts and by Ray, training by torchrun; and a Ray worker that is killed.

Each process has one processor, to which it is bound, and one thread, so that two have twice the machine of one.
Rounds alternate; a row is the best of its rounds.

    python benchmarks/scaling.py --write docs/scale.md     # about five minutes on two quiet cores
    python benchmarks/scaling.py killed                    # only: two Ray workers, one killed in the middle
    python benchmarks/scaling.py parts ray train           # any of the rows
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from extract import make_clip, make_weights
from train_simulated import Size, make

from vtrcli.extraction.discover import Part
from vtrcli.store.reader import FeatureStore
from vtrcli.training.record import read_metrics

BEGIN, END = "<!-- scaling: by benchmarks/scaling.py --write -->", "<!-- scaling: end -->"
NUM_FRAMES = 12
STEPS, BATCH = 120, 128
NUM_KILLED = 96  # videos of the run in which a worker is killed
MARK = "VTR_SCALING"
KINDS = ("parts", "ray", "train", "killed")


@dataclass(frozen=True)
class Row:
    """Seconds of the same work by one process and by two."""

    what: str
    one: float
    two: float

    def cells(self) -> list[str]:
        return [self.what, f"{self.one:.1f} s", f"{self.two:.1f} s", f"{self.one / self.two:.2f} times"]


def bound(processors: Sequence[int], words: Sequence[str | Path], **more: str) -> subprocess.Popen[bytes]:
    """A command on these processors alone, one thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **more}
    listed = ",".join(map(str, processors))
    return subprocess.Popen(
        ["taskset", "--cpu-list", listed, *map(str, words)], env=environment, stdout=subprocess.DEVNULL
    )


def extract_words(videos: Path, store: Path, backbone: str | Path, *options: str) -> list[str | Path]:
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "vtrcli",
        "extract",
        videos,
        "--store",
        store,
        "--backbone",
        backbone,
    ]
    return [*words, "--frames", str(NUM_FRAMES), "--device", "cpu", "--workers", "1", "--quiet", *options]


def wait_for(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.wait():
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")


def by_parts(videos: Path, store: Path, weights: Path, num_processes: int) -> float:
    """Seconds of so many `vtr extract --part` side by side."""
    started = time.monotonic()
    wait_for(
        [
            bound([number], extract_words(videos, store, weights, "--part", f"{number + 1}/{num_processes}"))
            for number in range(num_processes)
        ]
    )
    return time.monotonic() - started


@contextmanager
def cluster(num_workers: int) -> Iterator[str]:
    """The address of a Ray cluster on the first processors; all that it started ends with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mark = f"{os.getpid()}-{port}"
    ray = Path(sys.executable).with_name("ray")
    words: list[str | Path] = [
        ray,
        "start",
        "--head",
        f"--port={port}",
        f"--num-cpus={num_workers}",
        "--include-dashboard=false",
    ]
    words += ["--node-ip-address=127.0.0.1", "--disable-usage-stats", "--object-store-memory=100000000"]
    try:
        wait_for([bound(range(num_workers), words, RAY_AUTH_MODE="disabled", **{MARK: mark})])
        yield f"127.0.0.1:{port}"
    finally:
        for process in marked(mark):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def marked(mark: str, having: bytes = b"") -> list[int]:
    """Processes whose environment holds the mark, with these words in their command line."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            words, names = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            if having in words and f"{MARK}={mark}".encode() in names:
                found.append(int(process.name))
    return found


def by_ray(videos: Path, store: Path, weights: Path, num_workers: int) -> float:
    """Seconds of `vtr extract --ray` on a cluster that is up."""
    with cluster(num_workers) as address:
        started = time.monotonic()
        words = extract_words(videos, store, weights, "--ray", address)
        wait_for([bound(range(num_workers), words, RAY_AUTH_MODE="disabled")])
        return time.monotonic() - started


def by_torchrun(folder: Path, out: Path, num_processes: int) -> float:
    """Seconds of the steps of `vtr train`, without start and validation, which every process does alike."""
    start: list[str | Path] = [
        Path(sys.executable).with_name("torchrun"),
        "--standalone",
        f"--nproc-per-node={num_processes}",
    ]
    words = [*start, "-m", "vtrcli", "train", "--store", folder / "store", "--dataset", "csv"]
    words += ["--annotations", folder, "--out", out, "--steps", str(STEPS), "--batch-size", str(BATCH)]
    wait_for([bound(range(num_processes), [*words, "--device", "cpu", "--quiet"])])
    return float(sum(row["seconds"] for row in read_metrics(out)))


def rows(kinds: Sequence[str], work: Path, *, num_clips: int, num_rounds: int) -> Iterator[Row]:
    """Measure what is asked for."""
    if "parts" in kinds or "ray" in kinds:
        weights = make_weights(work / "vit-b-32.safetensors")
        videos = make_clips(work / "clips", num_clips)
    if "train" in kinds:
        folder = work / "features"
        folder.mkdir()
        make(folder, Size(2000, 16, 5, 1))
    for kind, what in (
        ("parts", f"`vtr extract --part`, {num_clips} clips, ViT-B/32, with start"),
        ("ray", "the same by `--ray`, on a cluster that is up"),
        ("train", f"`torchrun … vtr train`, {STEPS} steps of {BATCH} pairs, CAMoE"),
    ):
        if kind not in kinds:
            continue
        best = {1: float("inf"), 2: float("inf")}
        for number in range(num_rounds):
            for count in best:
                out = work / f"{kind}-{count}-{number}"
                if kind == "parts":
                    seconds = by_parts(videos, out, weights, count)
                elif kind == "ray":
                    seconds = by_ray(videos, out, weights, count)
                else:
                    seconds = by_torchrun(folder, out, count)
                best[count] = min(best[count], seconds)
                print(f"{kind}, {count}: {seconds:.1f} s", file=sys.stderr, flush=True)
        yield Row(what, best[1], best[2])


def make_clips(folder: Path, num_clips: int) -> Path:
    """The same four seconds again and again, told apart by bytes behind the last box; as many in either of two parts,
    which few files seldom are by themselves."""
    folder.mkdir()
    clip = make_clip(folder.with_name("clip.mp4"), seconds=4).read_bytes()
    first = [path for path in _names(folder) if Part(1, 2).has(path, folder)]
    second = [path for path in _names(folder) if Part(2, 2).has(path, folder)]
    for number in range(num_clips):
        path = (first, second)[number % 2][number // 2]
        path.write_bytes(clip + number.to_bytes(4, "big") * 4)
    return folder


def _names(folder: Path) -> list[Path]:
    return [folder / f"{number}.mp4" for number in range(1000)]


def contents(store: Path) -> dict[str, bytes]:
    opened = FeatureStore(store)
    return {
        name: opened.features(name).tobytes() + opened.timestamps(name).tobytes() for name in opened.videos
    }


def killed(work: Path, num_clips: int) -> str:
    """Two Ray workers, one killed when a third of the videos is written, against one process."""
    videos = make_clips(work / "killed-clips", num_clips)
    options = ("--precision", "float32")
    wait_for([bound([0, 1], extract_words(videos, work / "alone", "demo", *options))])
    store = work / "together"
    mark = f"{os.getpid()}-killed"
    words = extract_words(videos, store, "demo", *options, "--ray", "local")
    run = bound([0, 1], words, **{MARK: mark})
    num_then = 0
    while num_then < num_clips // 3:
        if run.poll() is not None:
            raise SystemExit("the run ended before a worker could be killed")
        time.sleep(0.05)
        if list((store / "shards").glob("*.safetensors")):
            num_then = len(FeatureStore(store).videos)
    workers = marked(mark, b"RemoteWorker")
    os.kill(workers[0], signal.SIGKILL)
    wait_for([run])
    alone, together = contents(work / "alone"), contents(store)
    verdict = "equal bit for bit" if alone == together else "DIFFERENT"
    return (
        f"{len(workers)} Ray workers, one killed when {num_then} of {num_clips} videos were written: the store has "
        f"{len(together)}, features and times {verdict} to those of one process"
    )


def markdown(measured: Sequence[Row], death: str | None) -> str:
    """The table and what it was measured on."""
    table = [
        ["the same work", "1 process", "2 processes", ""],
        ["---"] * 4,
        *(row.cells() for row in measured),
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in table if measured]
    cores = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    lines += ["", f"{cores}, torch {torch.__version__}; a processor and a thread for each process."]
    return "\n".join([*lines, *(["", f"{death}."] if death else [])]).strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[], metavar="|".join(KINDS))
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the table between the marks of a page"
    )
    options = parser.parse_args()
    kinds = options.kinds or KINDS
    if shutil.which("taskset") is None or len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this needs taskset (util-linux) and two processors")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        measured = list(rows(kinds, work, num_clips=options.clips, num_rounds=options.rounds))
        death = killed(work, NUM_KILLED) if "killed" in kinds else None
    text = markdown(measured, death)
    print(text)
    if options.write is not None:
        page = options.write.read_text(encoding="utf-8")
        pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.S)
        if len(pattern.findall(page)) != 1:
            raise SystemExit(f"{options.write} lacks the marks {BEGIN} and {END}")
        options.write.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
