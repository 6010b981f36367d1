"""`vtr store compact`: the rows that count are written anew, superseded and removed ones go; small shards become one.

No lock is needed, and a kill loses nothing. New shards are whole before an old one is deleted. Their names sort right
behind the newest of those that they replace, so that whatever anybody writes meanwhile still supersedes them. Two rules
keep two of these from hurting each other: who finds that a shard which it copied is gone takes its own copy back and
starts again; and a tombstone goes last, when no shard that sorts before it is one that this process does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.config import BANK_NAME, INDEX_FOLDER, SHARD_FOLDER, delete_file, require_inside
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, FrameShard, frame_paths, frame_shard_bytes
from vtrcli.store.reader import FeatureStore, Location, shard_paths
from vtrcli.store.records import VideoRecord
from vtrcli.store.shard import Shard, TensorFile, damaged, shard_bytes
from vtrcli.store.texts import open_texts, text_paths
from vtrcli.store.writer import MAX_SHARD_BYTES, MAX_SHARD_VIDEOS, compacted_name, leftovers, put

SMALL_BYTES, SMALL_VIDEOS = MAX_SHARD_BYTES // 4, MAX_SHARD_VIDEOS // 4
MERGE_AT = 16  # small shards that a store may have before the end of a run merges them
MAX_ROUNDS = 20
# Two writers that gave one id to two files settle that when they end (extraction/recognize.py); until then the rows
# of the one that is superseded are needed.
SETTLED_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """What `compact` did. Shards and their bytes count kept frames too; `num_dropped` are rows of videos that were
    superseded or removed."""

    num_shards_before: int
    num_shards_after: int
    num_bytes_before: int
    num_bytes_after: int
    num_dropped: int


@dataclass
class _Source:
    """A shard and what of it counts: `live` are numbers among its videos."""

    shard: Shard
    frames: Path | None
    live: list[int]
    is_contested: bool

    @property
    def num_dead(self) -> int:
        return len(self.shard.records) - len(self.live)

    @property
    def is_tombstone(self) -> bool:
        return not self.shard.records

    @property
    def num_bytes(self) -> int:
        return self.shard.file.num_bytes + (_size(self.frames) if self.frames else 0)

    @property
    def is_small(self) -> bool:
        return self.num_bytes < SMALL_BYTES and len(self.shard.records) < SMALL_VIDEOS


class _Disturbed(Exception):
    """Another process has taken a shard away meanwhile."""


def compact(
    store: Path,
    *,
    drop_frames: bool = False,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> CompactReport:
    """Rewrite the shards that hold rows which count no more, and those that are small; drop tombstones and, on wish,
    kept frames. What is as it should be is not touched.

    Args:
        on_progress: (bytes of shards done, bytes to do).

    Raises:
        StoreError: no store, a damaged shard (nothing is rewritten that its checksums do not vouch for), a shard of
            a newer format, a folder of the store that leads out of it, or it cannot be written.
    """
    for name in (SHARD_FOLDER, FRAME_FOLDER):
        require_inside(store / name)
    before = shard_paths(store), _sizes(store)
    num_dropped = _compacted(store, drop_frames=drop_frames, on_progress=on_progress)
    if drop_frames:
        for path in frame_paths(store):
            if (
                store / SHARD_FOLDER / path.name
            ).exists():  # else its writer is about to put the features beside it
                delete_file(path)
    for path in leftovers(store):
        delete_file(path)
    return CompactReport(
        num_shards_before=len(before[0]),
        num_shards_after=len(shard_paths(store)),
        num_bytes_before=before[1],
        num_bytes_after=_sizes(store),
        num_dropped=num_dropped,
    )


def _compacted(store: Path, *, drop_frames: bool, on_progress: Callable[[int, int], None]) -> int:
    for _ in range(MAX_ROUNDS):
        wanted = _worth_it(_read(store))
        try:
            _rewrite(store, wanted, drop_frames=drop_frames, on_progress=on_progress)
        except _Disturbed:
            continue
        _drop_tombstones(store)
        return sum(source.num_dead for source in wanted)
    raise StoreError(
        f"{store} changed {MAX_ROUNDS} times while it was compacted",
        allowed="one `vtr store compact` at a time",
        to_do="wait for the other one; nothing is lost",
    )


def merge_small(store: Path) -> None:
    """Make one shard of small ones when there are many: as much work as one full shard, at the end of a run.

    Many runs that found a single new video would leave a shard each.

    Raises:
        StoreError: as `compact`.
    """
    if sum(map(_may_be_small, shard_paths(store))) < MERGE_AT:
        return
    chosen: list[_Source] = []
    num_bytes = num_videos = 0
    for source in _read(store):
        if source.is_small and not source.is_tombstone and not source.is_contested:
            num_bytes += source.num_bytes
            num_videos += len(source.live)
            if num_bytes > MAX_SHARD_BYTES or num_videos > MAX_SHARD_VIDEOS:
                break
            chosen.append(source)
    if len(chosen) >= MERGE_AT:
        with contextlib.suppress(_Disturbed):  # another run does it
            _rewrite(store, chosen, drop_frames=False, on_progress=lambda num_done, total: None)


def _may_be_small(path: Path) -> bool:
    """As `_Source.is_small`, from the head of a file alone, and without its frames."""
    try:
        return _size(path) < SMALL_BYTES and TensorFile(path).shape("offsets")[0] - 1 < SMALL_VIDEOS
    except StoreError:  # who reads it whole will tell
        return True


def _read(store: Path) -> list[_Source]:
    reader = FeatureStore(store)
    now = time.time()
    sources = []
    for number, shard in enumerate(reader.shards):
        live = reader.live(number)
        dead = (shard.records[position] for position in set(range(len(shard.records))).difference(live))
        is_contested = any(
            _may_be_contested(record, reader.videos.get(record.video_id), now) for record in dead
        )
        frames = store / FRAME_FOLDER / shard.path.name
        sources.append(_Source(shard, frames if frames.exists() else None, live, is_contested))
    return sources


def _may_be_contested(record: VideoRecord, current: Location | None, now: float) -> bool:
    if current is None or now - record.extracted_at > SETTLED_SECONDS:
        return False
    other = current.record
    return record.path != other.path and (record.fingerprint, record.content) != (
        other.fingerprint,
        other.content,
    )


def _worth_it(sources: list[_Source]) -> list[_Source]:
    """The shards to rewrite: small ones only where they become fewer."""
    able = [source for source in sources if not source.is_contested and not source.is_tombstone]
    small = [source for source in able if source.is_small]
    dirty = [source for source in able if source.num_dead]
    wanted = small + dirty if len(small) > 1 else dirty
    return [source for source in able if any(source is other for other in wanted)]


def _rewrite(
    store: Path,
    sources: list[_Source],
    *,
    drop_frames: bool,
    on_progress: Callable[[int, int], None],
) -> None:
    """Copy what counts of the given shards into new ones and delete them."""
    total, num_done = sum(source.num_bytes for source in sources), 0
    rewriting = _Rewriting(store, with_frames=not drop_frames)
    for source in sources:
        rewriting.copy(source)
        num_done += source.num_bytes
        on_progress(num_done, total)
    rewriting.flush()


class _Rewriting:
    """Gathers videos of shards into new ones. A shard is deleted as soon as all its rows are elsewhere, so that the
    disk needs little room beside the store."""

    def __init__(self, store: Path, *, with_frames: bool) -> None:
        self._store, self._with_frames = store, with_frames
        self._copied: list[_Source] = []  # wholly, and not yet deleted
        self._clear()

    def _clear(self) -> None:
        self._sources: list[_Source] = []
        self._videos: list[dict[str, Any]] = []
        self._features: list[np.ndarray] = []
        self._timestamps: list[np.ndarray] = []
        self._kept: list[tuple[str, FrameJpegs, np.ndarray]] = []
        self._num_bytes = 0

    def copy(self, source: _Source) -> None:
        """Take what counts of a shard; write when enough has gathered."""
        require_sound(source.shard, source.frames)
        shard, offsets = source.shard, source.shard.offsets.tolist()
        # Word for word: later writers may say more of a video.
        bodies = json.loads(shard.file.text("videos"))
        frames = FrameShard(source.frames) if source.frames and self._with_frames else None
        for position in source.live:
            if not self._sources or self._sources[-1] is not source:
                self._sources.append(source)
            video_id, rows = shard.records[position].video_id, slice(offsets[position], offsets[position + 1])
            self._videos.append(bodies[position])
            self._features.append(shard.features[rows])
            self._timestamps.append(shard.timestamps[rows])
            self._num_bytes += self._features[-1].nbytes
            if frames is not None and video_id in frames:
                jpegs = FrameJpegs(tuple(frames.images(video_id)))
                self._kept.append((video_id, jpegs, self._timestamps[-1]))
                self._num_bytes += jpegs.num_bytes
            if len(self._videos) >= MAX_SHARD_VIDEOS or self._num_bytes >= MAX_SHARD_BYTES:
                self._write()
        self._copied.append(source)

    def flush(self) -> None:
        """Write what is left, and delete the shards whose rows are all elsewhere."""
        if self._videos:
            self._write()
        self._forget()

    def _write(self) -> None:
        newest = self._sources[-1].shard
        sha256 = newest.file.metadata["backbone_sha256"]
        body = shard_bytes(self._videos, self._features, self._timestamps, backbone_sha256=sha256)
        frames = frame_shard_bytes(self._kept) if self._kept else None
        path = put(self._store, body, frames, lambda: compacted_name(newest.path))
        if not {source.shard.path for source in self._sources} <= set(shard_paths(self._store)):
            delete_shards([path])
            raise _Disturbed
        self._clear()
        self._forget()

    def _forget(self) -> None:
        delete_shards([source.shard.path for source in self._copied])
        self._copied = []


def require_sound(shard: Shard, frames: Path | None) -> None:
    """Raises StoreError for damage: new checksums must not vouch for it."""
    problem = shard.file.checksum_problem()
    if problem:
        raise damaged(shard.path, problem)
    problem = FrameShard(frames).find_problem() if frames else None
    if frames and problem:
        raise damaged(frames, problem)


def _drop_tombstones(store: Path) -> None:
    """Delete the tombstones that take nothing away any more."""
    sources = _read(store)
    clean = {source.shard.path for source in sources if not source.num_dead}
    for source in sources:
        path = source.shard.path
        if source.is_tombstone and {other for other in shard_paths(store) if other.name < path.name} <= clean:
            delete_shards([path])


def _sizes(store: Path) -> int:
    return sum(map(_size, (*shard_paths(store), *frame_paths(store))))


def delete_shards(paths: Iterable[Path]) -> None:
    """Delete shards, and then their frames, so that none of a video is there without the others' knowledge.

    Raises:
        StoreError: a file cannot be deleted.
    """
    for shard in paths:
        for path in (shard, shard.parent.parent / FRAME_FOLDER / shard.name):
            delete_file(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Files of one kind; `num_parts` are the videos, captions or tables in them that count."""

    num_files: int
    num_bytes: int
    num_parts: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a store holds.

    Attributes:
        num_missing: videos whose file is not where it was.
        num_without_file: videos whose features were imported, so that no file is known.
        num_superseded: rows of videos that were extracted again.
        num_removed: videos that were taken out, whose last rows are still there.
        num_dead_bytes: what those take up; `vtr store compact` frees it.
    """

    features: Kind
    frames: Kind
    texts: Kind
    derived: Kind
    num_missing: int
    num_without_file: int
    num_superseded: int
    num_removed: int
    num_dead_bytes: int


def contents(opened: FeatureStore) -> Contents:
    """Count it; opens headers and asks for each video's file.

    Raises:
        StoreError: a file is damaged.
    """
    store, videos = opened.path, opened.videos
    num_dead = num_dead_bytes = num_with_frames = 0
    removed: set[str] = set()
    row_bytes = 2 * opened.config.backbone.dim + 4
    for number, shard in enumerate(opened.shards):
        path, sizes = store / FRAME_FOLDER / shard.path.name, np.diff(shard.offsets).tolist()
        frames = FrameShard(path) if path.exists() else None
        live = set(opened.live(number))
        for position, record in enumerate(shard.records):
            has_frames = frames is not None and record.video_id in frames
            if position in live:
                num_with_frames += has_frames
                continue
            num_dead += 1
            num_dead_bytes += sizes[position] * row_bytes
            if frames is not None and has_frames:
                num_dead_bytes += frames.num_bytes(record.video_id)
            if record.video_id not in videos:
                removed.add(record.video_id)
    texts = [*text_paths(store), *store.glob(BANK_NAME)]
    num_texts = sum(open_texts(path).shape("text_offsets")[0] - 1 for path in texts)
    derived = list((store / INDEX_FOLDER).rglob("*.safetensors"))
    return Contents(
        features=_kind(shard_paths(store), len(videos)),
        frames=_kind(frame_paths(store), num_with_frames),
        texts=_kind(texts, num_texts),
        derived=_kind(derived, len(derived)),
        num_missing=sum(at.record.has_file and not os.path.exists(at.record.path) for at in videos.values()),
        num_without_file=sum(not at.record.has_file for at in videos.values()),
        num_superseded=num_dead - len(removed),
        num_removed=len(removed),
        num_dead_bytes=num_dead_bytes,
    )


def _kind(paths: Iterable[Path], num_parts: int) -> Kind:
    sizes = []
    for path in paths:
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # compacted away, or a derived table made again
            continue
    return Kind(num_files=len(sizes), num_bytes=sum(sizes), num_parts=num_parts)
