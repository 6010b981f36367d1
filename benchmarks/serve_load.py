"""`vtr serve` under load: clients that ask at once, what they wait, what a query costs, and whether memory stays flat.

    python benchmarks/serve_load.py                        # 1, 8 and 64 clients over 1,000,000 frames, both ways
    python benchmarks/serve_load.py --pause 2              # clients that look at what they found for about 2 s
    python benchmarks/serve_load.py --minutes 10           # memory each minute of 64 clients, and whether it is flat
    python benchmarks/serve_load.py --parts                # the tower, the frames and the rest of a query, alone
    python benchmarks/serve_load.py --sizes 1000,10000,100000    # start-up, memory, first and warm query

The real command in a process of its own, over HTTP on loopback; a store of made-up features whose files are there (but
hold nothing), and a text tower of ViT-B/32's size with random weights. Every query is a sentence that was never asked.
"Apart" is the same server in which each text and each pass over the frames is done for one query alone, in turn: the
switch is in this file. Processor times are those of the server's threads, and of this client, per query. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from extract import make_weights
from synthetic import write_store

from vtrcli.model.families import backbone_info
from vtrcli.serve.process import BLAS_THREADS

WORDS = (
    "man woman boy girl dog cat band crowd chef player small large old young red blue white cooking running jumping "
    "singing talking playing driving walking kitchen street stage garden beach car guitar piano ball phone bicycle"
).split()
SENTENCE_WORDS = 8  # MSR-VTT's captions have 9.3 on average
NUM_FRAMES = 12
NUM_DISTINCT = 16_384
SERVE = "import sys; from vtrcli.cli.app import main; sys.argv = ['vtr', *sys.argv[1:]]; main()"
APART = """
from vtrcli.searching import scores
make = scores.Together.__init__
scores.Together.__init__ = lambda self, work, *, most=1: make(self, work, most=1)
"""
FLAT_SHARE = 0.03  # that memory may rise in the second half: its pages come and go with the passes under way
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)
    num_errors: int = 0


class Server:
    """A running `vtr serve`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.pid, self.port = process.pid, port

    def processor_seconds(self) -> float:
        """Of all its threads so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    def memory(self) -> tuple[float, float]:
        """MiB in memory: all, and its own without what is mapped from files."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        kilobytes = {
            line.split(":")[0]: int(line.split()[1])
            for line in lines
            if line.startswith(("VmRSS", "RssAnon"))
        }
        return kilobytes["VmRSS"] / 1024, kilobytes["RssAnon"] / 1024


@contextmanager
def serving(store: Path, *, apart: bool = False) -> Iterator[Server]:
    """The command, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (APART if apart else "") + SERVE
    command = [
        sys.executable,
        "-c",
        code,
        "serve",
        "--store",
        str(store),
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen([*command, "--run", "none", "--quiet"], stdout=subprocess.DEVNULL)
    try:
        while not _is_open(port):
            if process.poll() is not None:
                raise SystemExit(f"vtr serve ended with {process.returncode}")
            time.sleep(0.01)
        yield Server(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """One connection, by hand: a client's own processor time must not drown the server's."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, sentence: str) -> int:
        """The status of the answer, once it is there whole."""
        path = "/api/search?q=" + urllib.parse.quote(sentence)
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        return int(head.split()[1]) if b'"results"' in body else 0

    def close(self) -> None:
        self._writer.close()


def sentences(seed: int) -> Iterator[str]:
    """Sentences that were never asked: the clock is in the seed."""
    draw = random.Random(f"{time.time_ns()} {seed}")
    while True:
        yield "a " + " ".join(draw.choice(WORDS) for _ in range(SENTENCE_WORDS))


async def asking(client: Client, seed: int, end: float, pause: float, found: Measured) -> None:
    """Ask, wait for the answer, pause, ask again, until the end."""
    draw = random.Random(seed)
    await client.open()
    await asyncio.sleep(pause * draw.random())
    for sentence in sentences(seed):
        if time.perf_counter() >= end:
            break
        started = time.perf_counter()
        status = await client.ask(sentence)
        found.seconds.append(time.perf_counter() - started)
        found.num_errors += status != 200
        if pause:
            await asyncio.sleep(pause * (0.5 + draw.random()))
    client.close()


async def load(server: Server, num_clients: int, seconds: float, pause: float) -> Measured:
    """So many clients for so long."""
    found, end = Measured(), time.perf_counter() + seconds
    await asyncio.gather(
        *(asking(Client(server.port), number, end, pause, found) for number in range(num_clients))
    )
    return found


def warm(server: Server) -> tuple[float, float, float]:
    """Seconds of the first query (it loads the tower), of a new one (the median of 5), of one that was asked before."""

    async def run() -> tuple[float, float, float]:
        client = Client(server.port)
        await client.open()
        words = sentences(-1)

        async def timed(sentence: str) -> float:
            started = time.perf_counter()
            if await client.ask(sentence) != 200:
                raise SystemExit("the server does not answer")
            return time.perf_counter() - started

        first = await timed(next(words))
        new = statistics.median([await timed(next(words)) for _ in range(5)])
        known = next(words)
        await timed(known)
        again = statistics.median([await timed(known) for _ in range(5)])
        client.close()
        return first, new, again

    return asyncio.run(run())


def compare(store: Path, clients: list[int], seconds: float, pause: float, rounds: int) -> None:
    """Both ways, at each number of clients in turn, as often as there are rounds."""
    print(
        f"{'way':9}{'clients':>8}{'queries':>9}{'q/s':>8}{'p50, ms':>9}{'p99, ms':>9}{'errors':>8}"
        f"{'cores, ms/q':>13}{'client':>8}{'own MiB':>9}"
    )
    with serving(store) as together, serving(store, apart=True) as apart:
        for server in (together, apart):
            warm(server)
        for _ in range(rounds):
            for num_clients in clients:
                for way, server in (("together", together), ("apart", apart)):
                    used, own, started = server.processor_seconds(), time.process_time(), time.perf_counter()
                    found = asyncio.run(load(server, num_clients, seconds, pause))
                    passed, num = time.perf_counter() - started, len(found.seconds)
                    used, own = server.processor_seconds() - used, time.process_time() - own
                    print(
                        f"{way:9}{num_clients:8}{num:9}{num / passed:8.1f}{1e3 * statistics.median(found.seconds):9.0f}"
                        f"{1e3 * percentile(found.seconds, 0.99):9.0f}{found.num_errors:8}{1e3 * used / num:13.1f}"
                        f"{1e3 * own / num:8.2f}{server.memory()[1]:9.0f}",
                        flush=True,
                    )


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share of them reaches or stays below."""
    return sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]


def endure(store: Path, minutes: float, num_clients: int) -> None:
    """The server's memory every minute (eight times at least), and whether it is flat over the second half."""
    owns: list[tuple[float, float]] = []  # minutes, MiB
    with serving(store) as server:
        warm(server)
        num, num_errors, started = 0, 0, time.perf_counter()
        while True:
            passed = (time.perf_counter() - started) / 60
            whole, own = server.memory()
            owns.append((passed, own))
            print(
                f"{passed:5.1f} min {num:7} queries {num_errors} errors   in memory {whole:.0f} MiB, "
                f"of its own {own:.0f}",
                flush=True,
            )
            if passed >= minutes:
                break
            seconds = min(60.0, 60 * minutes / 8, 60 * (minutes - passed) + 1)
            found = asyncio.run(load(server, num_clients, seconds, 0))
            num, num_errors = num + len(found.seconds), num_errors + found.num_errors
    later = [own for at, own in owns if at >= minutes / 2]
    risen = max(later) - later[0]
    is_flat = risen <= FLAT_SHARE * later[0]
    print(
        f"second half: of its own {min(later):.0f} to {max(later):.0f} MiB, at most {risen:.0f} above its beginning "
        f"({100 * risen / later[0]:.1f} %): {'flat' if is_flat else 'not flat'}"
    )


def sizes(work: Path, numbers: list[int]) -> None:
    """What a server costs by the size of its store."""
    print(
        f"{'videos':>8}{'start, s':>10}{'own MiB':>9}{'first, ms':>11}{'new, ms':>9}{'again, ms':>11}{'then MiB':>10}"
    )
    for number in numbers:
        store = make_store(work, number)
        with serving(store):
            pass  # what is derived from the store is made once
        started = time.perf_counter()
        with serving(store) as server:
            ready, (_, own) = time.perf_counter() - started, server.memory()
            first, new, again = (1e3 * seconds for seconds in warm(server))
            print(
                f"{number:11}{ready:11.2f}{own:11.0f}{first:11.0f}{new:11.0f}{again:11.0f}"
                f"{server.memory()[1]:11.0f}",
                flush=True,
            )


def parts(store: Path) -> None:
    """Processor time per query of each part alone, by how many share it."""
    from vtrcli.searching.query import Query, SearchSettings
    from vtrcli.searching.searcher import Searcher

    searcher, words = Searcher(store, device="cpu"), sentences(-2)
    searcher.search(next(words))
    vectors = [searcher.encode(Query(text=next(words))) for _ in range(64)]
    tower, frames = searcher.encoder.text_tower, searcher._frames

    def report(name: str, work: Callable[[], object], share: int) -> None:
        seconds, used = [], []
        for _ in range(5):
            started, before = time.perf_counter(), time.process_time()
            work()
            seconds.append(time.perf_counter() - started)
            used.append(time.process_time() - before)
        per_query = [1e3 * min(values) / share for values in (seconds, used)]
        print(f"{name:36}{per_query[0]:8.1f} ms, of cores {per_query[1]:6.1f} ms a query", flush=True)

    for num in (1, 4, 16, 64):
        texts = [next(words) for _ in range(num)]
        report(f"texts through the tower, {num} at once", partial(tower.encode_texts, texts), num)
    for num in (1, 4, 16, 64):
        asked = [one.clip for one in vectors[:num]]
        report(f"queries over the frames, {num} at once", partial(frames.score_many, asked), num)
    known = partial(searcher.search, "x", SearchSettings(), vectors=vectors[0])
    report("a query whose vector is known", known, 1)


def make_store(work: Path, num_videos: int) -> Path:
    """The store, made once."""
    weights = make_weights(work / "vit-b-32.safetensors")
    store = work / f"store-{num_videos}"
    write_store(
        store,
        backbone_info(str(weights)),
        num_videos=num_videos,
        num_frames=NUM_FRAMES,
        num_distinct=NUM_DISTINCT,
        files=work / f"videos-{num_videos}",
    )
    return store


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=83_334, help="of 12 frames")
    parser.add_argument("--clients", type=numbers, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds between an answer and the next query"
    )
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--sizes", type=numbers)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vtr-serve-bench")
    options = parser.parse_args()
    if options.parts and os.environ.get(BLAS_THREADS) != "1":  # as `vtr serve` has it; NumPy is loaded by now
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, BLAS_THREADS: "1"})
    options.work.mkdir(parents=True, exist_ok=True)
    if options.sizes:
        return sizes(options.work, options.sizes)
    store = make_store(options.work, options.videos)
    if options.parts:
        return parts(store)
    if options.minutes:
        return endure(store, options.minutes, max(options.clients))
    return compare(store, options.clients, options.seconds, options.pause, options.rounds)


if __name__ == "__main__":
    main()
