"""`vtr search` as a new process on a large store, against `import torch` and against rclip's way of ranking.

    python benchmarks/search_command.py [--videos 100000] [--work DIR]

The store holds made-up features (benchmarks/synthetic.py), the backbone is ViT-B/32 with random weights. In turn,
several rounds: `import torch` alone; a query that was never asked; one that was; the same ranking as rclip does it
(re-created here: every vector a float32 blob in SQLite, all read into memory, one product, a full sort in Python),
which needs the query's vector and so no model at all. Everything is a process of its own.

`--server`: instead, what a new process costs where `vtr serve` runs for the store, beside the same alone: a query that
was never asked, and one that was.
"""

from __future__ import annotations

import argparse
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
        "vtr search, asked before": search(store, "a man cooking"),
        "vtr search --moments, asked before": [*search(store, "a man cooking"), "--moments"],
        "vtr search --path '*00.mp4', asked before": [*search(store, "a man cooking"), "--path", "*00.mp4"],
        "as rclip ranks, without a model": [
            sys.executable, "-c", RANK_LIKE_RCLIP, str(database), str(options.work / "query.npy")
        ],
    }  # fmt: skip
    subprocess.run(commands["vtr search, asked before"], check=True, stdout=subprocess.DEVNULL)
    report(alternate(commands, options.rounds))


def search(store: Path, query: str, *more: str) -> list[str]:
    command = [sys.executable, "-m", "vtrcli", "search", query, "--store", str(store), "--device", "cpu"]
    return [*command, *more]


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
        for name, values in alternate(commands, num_rounds).items():
            print(f"{name:28} median {statistics.median(values):5.2f} s   min {min(values):5.2f}")


@contextmanager
def served(store: Path) -> Iterator[None]:
    """`vtr serve` in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "vtrcli", "serve", "--store", str(store), "--device", "cpu"]
    process = subprocess.Popen([*command, "--run", "none", "--port", "0"], stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        print(process.stderr.readline().decode().strip())
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


def alternate(commands: dict[str, list[str]], num_rounds: int) -> dict[str, list[float]]:
    """Seconds of each command, all in turn; a {} in a command becomes something new each time."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(num_rounds):
        for name, command in commands.items():
            words = [word.replace("{}", str(time.time_ns())) for word in command]
            started = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def report(seconds: dict[str, list[float]]) -> None:
    base = statistics.median(seconds["import torch"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"{name:44} median {median:6.2f} s   min {min(values):6.2f}   {median - base:+6.2f} s over import torch"
        )


if __name__ == "__main__":
    main()
