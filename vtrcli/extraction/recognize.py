"""Which video a file is: a stored one, by place and stat where that is enough, else by content; or a new one.

A file may have been renamed, moved, copied, swapped with another or replaced since it was extracted; its disk may
have another mount point. What is recognised costs no decoding. A new id is the path below the folder that was given,
without the suffix; two files never share one silently.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from vtrcli.extraction.discover import Candidate
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, FrameShard
from vtrcli.store.reader import FeatureStore, Location, require_cut
from vtrcli.store.records import FileState, VideoRecord, file_content
from vtrcli.store.roots import Roots, below, is_below, mount_below, normal
from vtrcli.video.files import VIDEO_SUFFIXES

MAX_HASHERS = 8


def choose_video_id(candidate: Candidate, taken: Mapping[str, str]) -> tuple[str, str | None]:
    """The first free name for a file, and a note when its natural id belongs to another file.

    Args:
        taken: video id -> path of the file that owns it.
    """
    names = _possible_ids(candidate)
    wanted = next(names)
    path = str(candidate.path)
    if taken.get(wanted, path) == path:
        return wanted, None
    for name in names:
        if taken.get(name, path) == path:
            return name, f"id {wanted!r} belongs to {taken[wanted]}; {path} is stored as {name!r}"
    raise AssertionError("unreachable: the names do not end")


def _possible_ids(candidate: Candidate) -> Iterator[str]:
    """kitchen/pasta, kitchen/pasta.mp4, Videos/kitchen/pasta.mp4, home/Videos/kitchen/pasta.mp4 …, then ~2, ~3."""
    relative = candidate.path.relative_to(candidate.root).as_posix()
    suffix = candidate.path.suffix
    yield relative[: -len(suffix)] if suffix.lower() in VIDEO_SUFFIXES else relative
    yield relative
    name = relative
    for part in reversed(candidate.root.parts[1:]):
        name = f"{part}/{name}"
        yield name
    number = 2
    while True:
        yield f"{name}~{number}"
        number += 1


@dataclass
class File:
    """A file that its stat alone did not recognise.

    Attributes:
        record: the stored video that has this path, whatever the file holds now.
        content: SHA-256 of the file; None where nothing with such ends and such a size is known, so that it is new.
        keys: name the stored rows of this very content, the newest first, see `content_key`.
    """

    candidate: Candidate
    state: FileState
    record: VideoRecord | None
    content: str | None = None
    keys: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.candidate.path


def content_key(record: VideoRecord) -> str:
    """Names the content of a stored video: equal keys, equal content. Records of the first releases know only the
    ends of their files; their time of change then must do."""
    return record.content or f"{record.fingerprint} {record.num_bytes} {record.mtime_ns}"


def all_rows(store: FeatureStore) -> Iterator[Location]:
    """Every row range of a store, superseded and removed ones too, oldest first."""
    for number, shard in enumerate(store.shards):
        require_cut(shard)
        offsets = shard.offsets.tolist()
        for record, start, stop in zip(shard.records, offsets, offsets[1:], strict=False):
            yield Location(record, number, start, stop)


@dataclass(frozen=True)
class KnownRow:
    """Stored features of some content, and their frames where they were kept."""

    store: FeatureStore
    at: Location
    frames: FrameShard | None

    @property
    def record(self) -> VideoRecord:
        """The stored video that has or had them."""
        return self.at.record

    def body(self) -> tuple[np.ndarray, np.ndarray, FrameJpegs | None]:
        """features float16 [num_frames, dim], timestamps float32 [num_frames] in seconds, kept frames."""
        shard, rows = self.store.shards[self.at.shard], slice(self.at.start, self.at.stop)
        jpegs = FrameJpegs(tuple(self.frames.images(self.record.video_id))) if self.frames else None
        return shard.features[rows], shard.timestamps[rows], jpegs


class KnownRows:
    """The newest rows of each content, from a store as it is now; rows that have kept frames come first."""

    def __init__(self, store: Path, keys: Set[str]) -> None:
        self._store = FeatureStore(store)
        self._frames: dict[int, FrameShard | None] = {}
        self._rows: dict[str, list[Location]] = {}
        for at in all_rows(self._store):
            if (key := content_key(at.record)) in keys:
                self._rows.setdefault(key, []).append(at)

    def find(self, key: str) -> KnownRow | None:
        """The rows of a content; None when they are gone."""
        rows = self._rows.get(key, [])
        for at in reversed(rows):
            frames = self._frames_of(at)
            if frames is not None:
                return KnownRow(self._store, at, frames)
        return KnownRow(self._store, rows[-1], None) if rows else None

    def _frames_of(self, at: Location) -> FrameShard | None:
        """The frame shard that holds a row's frames. One that holds an id twice cannot say whose they are."""
        if at.shard not in self._frames:
            path = self._store.path / FRAME_FOLDER / self._store.shards[at.shard].path.name
            self._frames[at.shard] = FrameShard(path) if path.exists() else None
        frames = self._frames[at.shard]
        return frames if frames is not None and at.record.video_id in frames else None


def places(candidate: Candidate, roots: Roots) -> list[tuple[str, str]]:
    """(folder, relative path in composed Unicode) of a file: below the root that holds it, and below the folder that
    was given, which may be a copy of a root."""
    path = str(candidate.path)
    root = roots.of(path)
    folders = {str(_base(candidate.path.parent, candidate.root)), str(candidate.root)}
    folders |= {root.folder} if root else set()
    return [(folder, normal(below(path, folder))) for folder in sorted(folders)]


def are_apart(first: str, second: str) -> bool:
    """Whether neither folder holds the other."""
    return not is_below(first, second) and not is_below(second, first)


@lru_cache(maxsize=4096)
def _base(parent: Path, root: Path) -> Path:
    """The folder or, if there is one between, the mount point that a file's root should be."""
    return mount_below(parent / "x", root)


def root_folder(candidate: Candidate) -> str:
    """The folder that a new root of this file would stand for: what was given, or the mount point below it."""
    return str(_base(candidate.path.parent, candidate.root))


def find_contents(files: Iterable[File], known: dict[str, list[VideoRecord]]) -> None:
    """Set `content` and `keys` of files. Those that share size and ends with another file or with a stored video are
    read whole, several at a time.

    Args:
        known: fingerprint -> stored records, superseded ones too.
    """
    files = [file for file in files if file.state.num_bytes]
    same_ends = Counter(file.state.fingerprint for file in files)
    unsure = []
    for file in files:
        records = known.get(file.state.fingerprint, [])
        same = next((record for record in reversed(records) if _is_same_inode(record, file.state)), None)
        if same is not None:
            file.content, file.keys = same.content, [content_key(same)]
        elif records or same_ends[file.state.fingerprint] > 1:
            unsure.append(file)
    old = {
        record.path: record
        for file in unsure
        for record in known.get(file.state.fingerprint, [])
        if record.content is None and _is_unchanged(record)
    }
    contents = _contents([*(str(file.path) for file in unsure), *old])
    for file in unsure:
        file.content = contents.get(str(file.path))
        for record in reversed(known.get(file.state.fingerprint, [])):
            if record.content is not None:
                is_same = record.content == file.content
            elif record.path in old:
                is_same = file.content is not None and contents.get(record.path) == file.content
            else:  # it is gone, and nobody hashed it: moved, if its time of change came along
                is_same = record.mtime_ns == file.state.mtime_ns and not os.path.lexists(record.path)
            if is_same:
                file.keys.append(content_key(record))


def _is_same_inode(record: VideoRecord, state: FileState) -> bool:
    return record.inode is not None and (
        (record.inode, record.num_bytes, record.mtime_ns, record.fingerprint)
        == (state.inode, state.num_bytes, state.mtime_ns, state.fingerprint)
    )


def _is_unchanged(record: VideoRecord) -> bool:
    """Whether the file at a record's path is, by its stat, the one that was extracted."""
    try:
        return record.is_file(os.stat(record.path))
    except (OSError, ValueError):
        return False


def is_displaced(record: VideoRecord) -> bool:
    """Whether the path of a record holds its content no more."""
    try:
        status = os.stat(record.path)
    except (OSError, ValueError):
        return True
    if record.is_file(status):
        return False
    if status.st_size != record.num_bytes:
        return True
    return record.content is None or _contents([record.path]).get(record.path) != record.content


def _contents(paths: list[str]) -> dict[str, str]:
    """SHA-256 of each file that can be read."""
    stop = threading.Event()

    def read(path: str) -> tuple[str, str | None]:
        try:
            return path, file_content(Path(path), should_stop=stop.is_set)
        except OSError:
            return path, None

    if not paths:
        return {}
    with ThreadPoolExecutor(min(MAX_HASHERS, os.cpu_count() or 1)) as pool:
        try:
            return {path: content for path, content in pool.map(read, dict.fromkeys(paths)) if content}
        finally:
            stop.set()  # on Ctrl-C the pool waits for its threads
