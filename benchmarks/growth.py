"""Does the cost of a command grow faster than the number of videos? 1,000, 10,000, 100,000 and 1,000,000 of them.

    python benchmarks/growth.py                                    # all sizes: 6 minutes, and 5 at first, for the data
    python benchmarks/growth.py --sizes 1000,10000,100000          # 2 minutes
    python benchmarks/growth.py --only search,serve --json g.json --write docs/experiments.md

Every figure is a command of its own process, as a user runs it: the scan of `vtr extract` with nothing new and with ten
new videos, a search that was never asked and one that was, with the files there and gone, `vtr serve` until its first
answer, `vtr store info`, `failures` and `verify`, `vtr eval`. The store is made up (demo's backbone, 128 dimensions, 4
frames a video) but its files are there: each has a size, a time and a hole for content, which no command may read.

Seconds by the clock and of processors (with ffmpeg's, where it runs), the most memory of its own (anonymous: without
files that are mapped or cached; looked at every 5 ms), and what it read by calls. Behind each figure stands how many
times the figure before it is in it. `!` marks what grew more than the videos did: by a quarter or more per step, and by
more than the 0.2 s and 16 MiB that are noise. Linux only; 1,000,000 videos need 3 GB of disk in --work.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from synthetic import Maker, record

from vtrcli.model.families import describe_backbone
from vtrcli.store.config import create_config
from vtrcli.store.roots import Root, add_roots
from vtrcli.store.writer import StoreWriter
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.sampling import Rate

SIZES = (1_000, 10_000, 100_000, 1_000_000)
NUM_FRAMES, FOLDER_VIDEOS, NUM_NEW, NUM_TEXTS = 4, 1_000, 10, 1_000
MAX_SQUARE = 10_000  # 10^8 scores
LOOK_SECONDS = 0.005
TOLERANCE, NOISE_SECONDS, NOISE_MIB = 1.25, 0.2, 16.0
MARKS = "<!-- growth begins -->", "<!-- growth ends -->"


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds by the clock, of processors, MiB of its own at the most, MiB read by calls."""

    seconds: float
    processor_seconds: float
    own_mib: float
    read_mib: float


class Running:
    """A `vtr` of its own, watched."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "vtrcli", *map(str, arguments)]
        self._started, self._most = time.perf_counter(), 0
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._errors = b""
        self._threads = [threading.Thread(target=work) for work in (self._watch, self._drain)]
        for thread in self._threads:
            thread.start()

    def _watch(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        while self.process.returncode is None:
            lines = [line for line in status.read_text().splitlines() if line.startswith("RssAnon")]
            if not lines:  # it has ended
                return
            self._most = max(self._most, int(lines[0].split()[1]))
            time.sleep(LOOK_SECONDS)

    def _drain(self) -> None:
        assert self.process.stderr is not None
        self._errors = self.process.stderr.read()

    def cost(self, *, until: float | None = None, expected: Sequence[int] = (0,)) -> Cost:
        """Wait for its end. `until`: when what is measured was done, by `time.perf_counter`."""
        pid = self.process.pid
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        ended = time.perf_counter()
        counters = Path(f"/proc/{pid}/io").read_text().split()
        for thread in self._threads:
            thread.join()
        _, status, usage = os.wait4(pid, 0)
        self.process.returncode = code = os.waitstatus_to_exitcode(status)
        if code not in expected:
            raise SystemExit(f"{self.process.args!r} ended with {code}\n{self._errors.decode()}")
        seconds = (until or ended) - self._started
        read = int(counters[counters.index("rchar:") + 1])
        return Cost(seconds, usage.ru_utime + usage.ru_stime, self._most / 1024, read / 2**20)


class Place:
    """The made data of one size: `store`, the `files` of its videos, annotations and vectors."""

    def __init__(self, work: Path, size: int) -> None:
        self.size, self.folder = size, work / f"growth-{size}"
        self.store, self.files = self.folder / "store", self.folder / "files"
        self._made = self.folder / "made"

    def make(self) -> None:
        """Once."""
        if self._made.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.files.mkdir(parents=True)
        self._write_store()
        self._write_vectors()
        with open(self.folder / "captions.csv", "w") as table:
            table.write("video_id,caption\n")
            for number in range(NUM_TEXTS):
                table.write(f"{video_id(number * (self.size // NUM_TEXTS))},a clip of number {number}\n")
        drawn(self.folder / "new")
        # What a store that is used has: its catalogue, the captions' features and a query that was asked.
        Running("search", "a red ball", "--store", self.store, "--missing").cost()
        Running(*self.eval_store()).cost()
        self._made.touch()

    def _write_store(self) -> None:
        described = describe_backbone("demo")
        from vtrcli.extraction.settings import store_config

        config = store_config(described, Rate())
        create_config(self.store, config)
        add_roots(self.store, [Root(name="files", folder=str(self.files), origin=str(self.files))])
        writer = StoreWriter(self.store, backbone_sha256=described.info.sha256)
        maker = Maker(dim=described.info.dim)
        for first in range(0, self.size, FOLDER_VIDEOS):
            rows = maker.videos(FOLDER_VIDEOS, NUM_FRAMES)
            (self.files / video_id(first)).parent.mkdir()
            for number in range(FOLDER_VIDEOS):
                name = video_id(first + number)
                path = self.files / f"{name}.mp4"
                with open(path, "wb") as file:
                    file.truncate(1_000_000)
                    status = os.fstat(file.fileno())
                made = replace(
                    record(name),
                    path=str(path),
                    mtime_ns=status.st_mtime_ns,
                    inode=status.st_ino,
                    ctime_ns=status.st_ctime_ns,
                    content=secrets.token_hex(32),
                    root="files",
                    relative_path=f"{name}.mp4",
                )
                writer.add(made, rows[number], np.arange(NUM_FRAMES) * 2.0)
        writer.flush()

    def _write_vectors(self) -> None:
        maker = Maker(dim=128)
        videos = maker.videos(self.size, 1)[:, 0]
        np.save(self.folder / "videos.npy", videos)
        number_of = np.arange(NUM_TEXTS) * (self.size // NUM_TEXTS)
        np.save(self.folder / "of-texts.npy", number_of)
        np.save(self.folder / "texts.npy", maker.queries(videos[number_of]))
        if self.size <= MAX_SQUARE:
            np.save(self.folder / "all-texts.npy", maker.queries(videos))

    def eval_store(self) -> list[object]:
        """The command: captions of 1,000 of the store's videos."""
        where = ["--store", self.store, "--run", "none", "--annotations", self.folder / "captions.csv"]
        return ["eval", *where, "--dataset", "csv", "--device", "cpu", "--allow-missing"]

    def eval_vectors(self, *texts: object) -> list[object]:
        """The command: vectors of texts against those of all videos."""
        return ["eval", *texts, "--video-vectors", self.folder / "videos.npy"]

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A store that may be written into. Its files are links: a store replaces files, and changes none."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.store, copy, copy_function=os.link)
        (copy / "roots.jsonl").unlink()  # but for this one, to which lines are added
        shutil.copy(self.store / "roots.jsonl", copy)
        try:
            yield copy
        finally:
            shutil.rmtree(copy)

    @contextmanager
    def with_new(self) -> Iterator[None]:
        """Ten videos more in the folder of files."""
        new = self.files / "new"
        shutil.copytree(self.folder / "new", new)
        try:
            yield
        finally:
            shutil.rmtree(new)

    @contextmanager
    def without_files(self) -> Iterator[None]:
        """All files gone, their folders still there."""
        away = self.folder / "away"
        os.rename(self.files, away)
        try:
            for folder in away.iterdir():
                (self.files / folder.name).mkdir(parents=True)
            yield
        finally:
            shutil.rmtree(self.files)
            os.rename(away, self.files)


def video_id(number: int) -> str:
    return f"day-{number // FOLDER_VIDEOS:04d}/clip-{number:07d}"


def drawn(folder: Path) -> None:
    """Ten tiny videos."""
    folder.mkdir()
    source = "testsrc2=size=64x48:rate=10:duration=1"
    first = folder / "0.mp4"
    command = [ffmpeg_binary(), "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264"]
    subprocess.run([*command, "-preset", "ultrafast", str(first)], check=True)
    for number in range(1, NUM_NEW):  # bytes behind the last box: another file with the same pictures
        (folder / f"{number}.mp4").write_bytes(first.read_bytes() + number.to_bytes(4, "big") * 4)


def extract(place: Place) -> Iterator[tuple[str, Cost]]:
    with place.copied() as store:
        options = ["--store", store, "--backbone", "demo", "--device", "cpu", "--quiet"]
        yield "extract, nothing new", Running("extract", place.files, *options).cost()
        with place.with_new():
            yield "extract, 10 new", Running("extract", place.files, *options).cost()
            yield "search after it", Running("search", "a red ball", "--store", store).cost()
        gone = ["store", "prune", "--missing", "--store", store, "--dry-run"]
        yield "store prune, 10 gone", Running(*gone).cost()


def search(place: Place) -> Iterator[tuple[str, Cost]]:
    asked = ["search", "a red ball", "--store", place.store, "--device", "cpu"]
    new = f"a ball of colour {secrets.token_hex(3)}"
    yield "search, a new query", Running("search", new, *asked[2:]).cost()
    yield "search, asked before", Running(*asked).cost()
    yield "search --moments", Running(*asked, "--moments").cost()
    yield "search --path '*00.mp4'", Running(*asked, "--path", "*00.mp4").cost()
    with place.without_files():
        yield "search, files gone", Running(*asked).cost()


def serve(place: Place) -> Iterator[tuple[str, Cost]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--store", place.store, "--port", str(port), "--device", "cpu", "--run", "none", "--quiet"]
    server = Running("serve", *options)
    address = f"http://127.0.0.1:{port}/api/search?q=a+red+ball"
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                answer.read()
            break
        except OSError:
            if server.process.poll() is not None:
                raise SystemExit("vtr serve ended") from None
            time.sleep(0.01)
    answered = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    yield "serve, to its first answer", server.cost(until=answered, expected=(0, 130, 143, -15))


def store(place: Place) -> Iterator[tuple[str, Cost]]:
    for name in ("info", "failures", "verify"):
        yield f"store {name}", Running("store", name, "--store", place.store).cost()


def evaluate(place: Place) -> Iterator[tuple[str, Cost]]:
    yield f"eval of {NUM_TEXTS:,} captions", Running(*place.eval_store()).cost()
    folder = place.folder
    few = ["--text-vectors", folder / "texts.npy", "--text-to-video", folder / "of-texts.npy"]
    yield f"eval, {NUM_TEXTS:,} texts, all videos", Running(*place.eval_vectors(*few)).cost()
    if place.size <= MAX_SQUARE:
        every = place.eval_vectors("--text-vectors", folder / "all-texts.npy")
        yield SQUARE, Running(*every).cost()


SQUARE = "eval, as many texts as videos"
ORDER = {SQUARE: 2}  # grows with the square of the number of videos, as there are so many scores
PARTS: dict[str, Callable[[Place], Iterator[tuple[str, Cost]]]] = {
    "extract": extract, "search": search, "serve": serve, "store": store, "eval": evaluate,
}  # fmt: skip
COLUMNS = {
    "processor_seconds": ("seconds of processors", 2, NOISE_SECONDS),
    "seconds": ("seconds by the clock", 2, NOISE_SECONDS),
    "own_mib": ("MiB of its own", 0, NOISE_MIB),
    "read_mib": ("MiB read by calls", 0, NOISE_MIB),
}


def table(costs: dict[str, dict[int, Cost]], sizes: Sequence[int], key: str) -> Iterator[str]:
    """One kind of cost of all commands; `!` behind what grew more than the videos."""
    title, digits, noise = COLUMNS[key]
    yield f"{title:33}" + "".join(f"{size:>11,}" for size in sizes)
    for name, by_size in costs.items():
        cells, before = [], None
        for size in sizes:
            if size not in by_size:
                cells.append(" " * 11)
                continue
            value = getattr(by_size[size], key)
            text = f"{value:.{digits}f}"
            if before is not None:
                text += f" x{value / max(before[1], 0.01):.1f}" if before[1] else ""
                text += "!" * is_worse(before, (size, value), ORDER.get(name, 1), noise)
            cells.append(f"{text:>11}")
            before = size, value
        yield f"{name:33}" + "".join(cells).rstrip()


def is_worse(before: tuple[int, float], now: tuple[int, float], order: int, noise: float) -> bool:
    """Whether a cost grew more than the number of videos (to the power of `order`)."""
    allowed = before[1] * (now[0] / before[0]) ** order
    return now[1] > allowed * TOLERANCE and now[1] - allowed > noise


def write_between(page: Path, body: str) -> None:
    text = page.read_text()
    begin, rest = text.split(MARKS[0])
    _, end = rest.split(MARKS[1])
    page.write_text(f"{begin}{MARKS[0]}\n```\n{body}\n```\n{MARKS[1]}{end}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=SIZES)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(PARTS), help=", ".join(PARTS)
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vtr-growth")
    parser.add_argument("--json", type=Path, help="where all figures go")
    parser.add_argument("--write", type=Path, help="a page with marks between which the tables go")
    options = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    costs: dict[str, dict[int, Cost]] = {}
    for size in options.sizes:
        place = Place(options.work, size)
        started = time.monotonic()
        place.make()
        print(f"{size:,} videos, made in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        for part in options.only:
            for name, cost in PARTS[part](place):
                costs.setdefault(name, {})[size] = cost
                row = " ".join(f"{value:9.2f}" for value in asdict(cost).values())
                print(f"{name:33} {row}", file=sys.stderr, flush=True)
    body = "\n\n".join("\n".join(table(costs, options.sizes, key)) for key in COLUMNS)
    print(body)
    if options.json:
        rows = {name: {str(size): asdict(cost) for size, cost in of.items()} for name, of in costs.items()}
        options.json.write_text(json.dumps({"sizes": list(options.sizes), "costs": rows}, indent=1))
    if options.write:
        write_between(options.write, body)


if __name__ == "__main__":
    main()
