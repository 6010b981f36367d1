"""`vtr search` as a new process on a large store, against `import torch` and against rclip's way of ranking.

    python benchmarks/search_command.py [--videos 100000] [--work DIR]

The store holds made-up features (benchmarks/synthetic.py), the backbone is ViT-B/32 with random weights. In turn,
several rounds: `import torch` alone; a query that was never asked, its text tower in NumPy and, as it was, in torch;
one that was asked; `--help`; the same ranking as rclip does it (re-created here: every vector a float32 blob in SQLite,
all read into memory, one product, a full sort in Python), which needs the query's vector and so no model at all.
Everything is a process of its own. Seconds, seconds of processors, and the most memory of its own (Linux: without
mapped files). The store's videos are not there, so `--missing` keeps a search from looking for all of them.

`--server`: instead, what a new process costs where `vtr serve` runs for the store, beside the same alone: a query that
was never asked, and one that was.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from extract import make_weights
from synthetic import DIM, write_store

from vtrcli.model.families import backbone_info
from vtrcli.store.catalog_file import open_catalog

NUM_FRAMES = 12
# The way before the tower in NumPy: torch, whatever the device.
BY_TORCH = """
import os, sys
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
from vtrcli.model import families
families.load_query_tower = lambda name, *, device, sha256: families.load_backbone(
    name, device=device, towers="text", sha256=sha256
)
from vtrcli.cli.app import main
main()
"""
RANK_LIKE_RCLIP = """
import sqlite3, sys, numpy as np
vectors, names = [], []
for name, blob in sqlite3.connect(sys.argv[1]).execute("select name, vector from images"):
    names.append(name)
    vectors.append(np.frombuffer(blob, np.float32))
features = np.stack(vectors)
query = np.load(sys.argv[2])
scores = (features @ query).tolist()
print([names[i] for _, i in sorted(((s, i) for i, s in enumerate(scores)), reverse=True)[:10]])
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vtr-search-bench")
    parser.add_argument("--server", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    weights = make_weights(options.work / "vit-b-32.safetensors")
    store = options.work / f"store-{options.videos}"
    write_store(store, backbone_info(str(weights)), num_videos=options.videos, num_frames=NUM_FRAMES)
    if options.server:
        measure_first(store)
        with_server(store, options.rounds)
        return
    database = write_database(options.work / f"rclip-{options.videos}.sqlite", store)
    np.save(options.work / "query.npy", np.ones(DIM, np.float32) / DIM**0.5)
    measure_first(store)
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "vtr search, a new query": search(store, "a man cooking {}"),
        "the same, its text tower in torch": [
            sys.executable, "-c", BY_TORCH, *search(store, "a man cooking {}")[3:]
        ],
        "vtr search, asked before": search(store, "a man cooking"),
        "vtr search --moments, asked before": [*search(store, "a man cooking"), "--moments"],
        "vtr search --path '*00.mp4', asked before": [*search(store, "a man cooking"), "--path", "*00.mp4"],
        "vtr --help": [sys.executable, "-m", "vtrcli", "--help"],
        "as rclip ranks, without a model": [
            sys.executable, "-c", RANK_LIKE_RCLIP, str(database), str(options.work / "query.npy")
        ],
    }  # fmt: skip
    subprocess.run(commands["vtr search, asked before"], check=True, stdout=subprocess.DEVNULL)
    report(alternate(commands, options.rounds))


def search(store: Path, query: str, *more: str) -> list[str]:
    command = [sys.executable, "-m", "vtrcli", "search", query, "--store", str(store), "--device", "cpu"]
    return [*command, "--missing", *more]


def with_server(store: Path, num_rounds: int) -> None:
    """The four ways in turn."""
    commands = {
        "by a server, a new query": search(store, "a man cooking {}", "--run", "none"),
        "alone, a new query": search(store, "a man cooking {}", "--run", "none", "--no-server"),
        "by a server, asked before": search(store, "a man cooking", "--run", "none"),
        "alone, asked before": search(store, "a man cooking", "--run", "none", "--no-server"),
        "vtr --version": [sys.executable, "-m", "vtrcli", "--version"],
    }
    with served(store):
        alternate(commands, 1)  # the server's tower is loaded, and the files are in memory
        for name, rows in alternate(commands, num_rounds).items():
            values = [seconds for seconds, _, _ in rows]
            print(f"{name:28} median {statistics.median(values):5.2f} s   min {min(values):5.2f}")


@contextmanager
def served(store: Path) -> Iterator[None]:
    """`vtr serve` in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "vtrcli", "serve", "--store", str(store), "--device", "cpu"]
    process = subprocess.Popen([*command, "--run", "none", "--port", "0"], stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        for line in iter(process.stderr.readline, b""):
            if line.startswith(b"ready"):
                break
        yield
    finally:
        process.terminate()
        process.communicate()


def measure_first(store: Path) -> None:
    """What the first search of a store pays once: its catalogue."""
    (store / "index" / "catalog.safetensors").unlink(missing_ok=True)
    started = time.perf_counter()
    open_catalog(store)
    print(f"catalogue made, once per store: {time.perf_counter() - started:.1f} s")


def write_database(path: Path, store: Path) -> Path:
    """The same vectors, normalised, as float32 blobs; made once."""
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        catalog = open_catalog(store)
        with sqlite3.connect(temporary) as connection:
            connection.execute("create table images (name text, vector blob)")
            for shard, block in enumerate(catalog.blocks):
                rows = [
                    (f"{shard}/{row}", vector.astype(np.float32).tobytes())
                    for row, vector in enumerate(np.asarray(block))
                ]
                connection.executemany("insert into images values (?, ?)", rows)
        temporary.rename(path)
    return path


Cost = tuple[float, float, float]  # seconds, seconds of processors, MB of its own


def alternate(commands: dict[str, list[str]], num_rounds: int) -> dict[str, list[Cost]]:
    """What each command costs, all in turn; a {} in a command becomes something new each time."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(num_rounds):
        for name, command in commands.items():
            costs[name].append(cost([word.replace("{}", str(time.time_ns())) for word in command]))
    return costs


def cost(command: list[str]) -> Cost:
    """Of one run. Its memory is looked at every 2 ms."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        most = 0.0
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            most = max(most, own_megabytes(process.pid))
            time.sleep(0.002)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, most


def own_megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:")), 0.0)


def report(costs: dict[str, list[Cost]]) -> None:
    print(f"{'':44}{'median, s':>12}{'least, s':>12}{'processor, s':>14}{'own MB':>10}")
    for name, rows in costs.items():
        seconds, processor, memory = ([row[column] for row in rows] for column in range(3))
        print(
            f"{name:44}{statistics.median(seconds):12.2f}{min(seconds):12.2f}{statistics.median(processor):14.2f}"
            f"{max(memory):10.0f}"
        )


if __name__ == "__main__":
    main()
