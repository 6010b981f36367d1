"""One collection brought to the wanted videos. Stopped at any moment and run again, it ends the same.

A video counts as there in a version when its frame 0 is; that row is written last. The number of all rows then tells
whether an earlier push was stopped half way, and only in that case are all rows looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from vtrcli.milvus.rows import about_video, fits, in_list, video_rows
from vtrcli.milvus.server import MilvusServer
from vtrcli.milvus.wanted import WantedVideo

ROW_BYTES = 300  # of a row, beside its vector and its texts
PAGE_ROWS = 8192  # Milvus answers with at most 16,384 rows
KEYS_PER_DELETE = 1000


@dataclass
class Counts:
    """Videos, by what was done with them."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def written(self) -> int:
        """New and changed ones."""
        return self.added + self.changed


class Sync:
    """Brings one collection to the wanted videos."""

    def __init__(self, server: MilvusServer, name: str, wanted: dict[str, WantedVideo]) -> None:
        self.server, self.name, self.wanted = server, name, wanted
        self.counts = Counts()
        flush_local(server, name)  # what a stopped push left in milvus-lite's memory is slow to read
        self.there = listed(server, name)
        broken = _broken_videos(server, name, self.there)
        delete_videos(server, name, broken)
        for key in broken:
            self.there.pop(key, None)
        self.to_do = [key for key, video in wanted.items() if self.there.get(key, ("",))[0] != video.version]

    @property
    def num_to_do(self) -> int:
        """Videos to write."""
        return len(self.to_do)

    def run(self, batch_bytes: int, on_progress: Callable[[int], None]) -> None:
        """Remove what is no longer wanted, write what is new or changed."""
        counts = self.counts
        gone = [key for key in self.there if key not in self.wanted]
        delete_videos(self.server, self.name, gone)
        counts.removed, counts.unchanged = len(gone), len(self.wanted) - self.num_to_do
        rows: list[dict[str, Any]] = []
        stale: list[str] = []
        num_bytes = 0
        for done, key in enumerate(self.to_do):
            if key in self.there:
                stale.append(key)
            for row in self._rows_of(key):
                rows.append(row)
                num_bytes += ROW_BYTES + row["vector"].nbytes + 3 * len(row["path"]) + len(row["video_id"])
                if num_bytes >= batch_bytes:
                    self._write(stale, rows)
                    rows, stale, num_bytes = [], [], 0
                    on_progress(done)
        if self.to_do:
            self._write(stale, rows)
            on_progress(self.num_to_do)
        if self.to_do or gone:
            flush_local(self.server, self.name)

    def _rows_of(self, key: str) -> list[dict[str, Any]]:
        video = self.wanted[key]
        about = about_video(video.record, video.version)
        vectors, seconds = video.rows()
        problem = "" if fits(about) else "its id or path is longer than 65,535 bytes"
        if not np.isfinite(vectors).all():
            problem = "its features are not finite"
        if problem:
            self.counts.refused.append((video.record.video_id, problem))
            return []
        if key in self.there:
            self.counts.changed += 1
        else:
            self.counts.added += 1
        return video_rows(about, vectors, seconds)

    def _write(self, stale: list[str], rows: list[dict[str, Any]]) -> None:
        delete_videos(self.server, self.name, stale)
        if rows:
            with self.server.calling(f"writing to {self.name}") as client:
                client.upsert(self.name, rows, timeout=self.server.timeout_seconds)


def flush_local(server: MilvusServer, name: str) -> None:
    """Let milvus-lite write out its memory, which it searches ten times slower; servers do so by themselves."""
    if server.is_local:
        with server.calling(f"flushing {name}") as client:
            client.flush(name, timeout=server.load_timeout_seconds)


def pages(
    server: MilvusServer, name: str, where: str, columns: Iterable[str]
) -> Iterator[list[dict[str, Any]]]:
    """All rows that fulfil an expression, some thousands at a time, in the order of their ids."""
    doing = f"listing {name}"
    with server.calling(doing) as client:
        iterator = client.query_iterator(
            name,
            batch_size=PAGE_ROWS,
            filter=where,
            output_fields=list(columns),
            timeout=server.timeout_seconds,
            retry_times=1,  # one of the iterator's calls has no timeout, and would be tried 75 times
        )
    while True:
        with server.calling(doing):
            rows = list(iterator.next())
        if not rows:
            return
        yield rows


def num_rows(server: MilvusServer, name: str, where: str = "") -> int:
    """How many rows fulfil an expression."""
    with server.calling(f"counting the rows of {name}") as client:
        answer = client.query(name, filter=where, output_fields=["count(*)"], timeout=server.timeout_seconds)
    return int(answer[0]["count(*)"])


def listed(server: MilvusServer, name: str) -> dict[str, tuple[str, int]]:
    """Video key -> version and number of rows, of all videos whose frame 0 is there."""
    return {
        row["video_key"]: (row["version"], int(row["num_frames"]))
        for page in pages(server, name, "frame == 0", ("video_key", "version", "num_frames"))
        for row in page
    }


def _broken_videos(server: MilvusServer, name: str, there: dict[str, tuple[str, int]]) -> list[str]:
    """Keys of videos that a stopped push left with too few or too many rows."""
    if num_rows(server, name) == sum(num_frames for _, num_frames in there.values()):
        return []
    found: dict[str, int] = {}
    broken: set[str] = set()
    for page in pages(server, name, "frame >= 0", ("video_key", "version", "num_frames", "frame")):
        for row in page:
            key = row["video_key"]
            found[key] = found.get(key, 0) + 1
            if there.get(key) != (row["version"], int(row["num_frames"])):
                broken.add(key)
    return sorted(broken | {key for key, number in found.items() if number != there.get(key, ("", 0))[1]})


def delete_videos(server: MilvusServer, name: str, keys: Iterable[str]) -> None:
    """Delete all rows of videos."""
    rest = iter(keys)
    while some := list(islice(rest, KEYS_PER_DELETE)):
        with server.calling(f"deleting from {name}") as client:
            client.delete(name, filter=in_list("video_key", some), timeout=server.timeout_seconds)
