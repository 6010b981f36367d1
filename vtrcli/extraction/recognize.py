"""Which video a file is: a stored one, by place and stat where that is enough, else by content; or a new one.

A file may have been renamed, moved, copied, swapped with another or replaced since it was extracted; its disk may
have another mount point. What is recognised costs no decoding. A new id is the path below the folder that was given,
without the suffix; two files never share one silently.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

from vtrcli.extraction.discover import Candidate
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, FrameShard, frames_of
from vtrcli.store.reader import FeatureStore, Location
from vtrcli.store.records import FileState, VideoRecord, file_content, place_of
from vtrcli.store.roots import Root, Roots, below, is_below, mount_below, normal
from vtrcli.store.writer import StoreWriter
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


class Stored:
    """What the store knows, by what a file can be recognised by.

    Attributes:
        again: ids whose videos are to be decoded again.
        usable: keys of contents whose rows may be copied; None for all.
    """

    def __init__(self, store: FeatureStore, again: set[str]) -> None:
        self.again = again
        self.roots = store.roots
        self.current = {video_id: at.record for video_id, at in store.videos.items()}
        self.by_path: dict[str, list[VideoRecord]] = defaultdict(list)
        self.by_normal: dict[str, list[VideoRecord]] = defaultdict(list)
        for record in self.current.values():
            self.by_path[record.path].append(record)
            if not record.path.isascii():
                self.by_normal[normal(record.path)].append(record)
        # Superseded rows are as good as any, but nobody knows whether they have kept frames.
        self.by_fingerprint: dict[str, list[VideoRecord]] = defaultdict(list)
        self.root_names: set[str | None] = set()
        for at in store.rows():
            self.by_fingerprint[at.record.fingerprint].append(at.record)
            self.root_names.add(at.record.root)
        with_frames = (record for record in self.current.values() if record.video_id not in again)
        self.usable = {content_key(record) for record in with_frames} if again else None

    def at(self, path: str, status: os.stat_result, paths: set[str]) -> VideoRecord | None:
        """The stored video of a path, which may be recorded in Unicode's other form; of several the one that fits.

        Args:
            paths: those of all candidates: a video whose own path is there is nobody else's.
        """
        records = self.by_path.get(path)
        if not records:
            others = self.by_normal.get(normal(path), [])
            records = [
                record for record in others if record.path not in paths and _is_same_name(record, path)
            ]
        return next(
            (record for record in records if record.is_file(status)), records[-1] if records else None
        )

    @cached_property
    def _by_key(self) -> dict[str, list[VideoRecord]]:
        found: dict[str, list[VideoRecord]] = defaultdict(list)
        for record in self.current.values():
            found[content_key(record)].append(record)
        return found

    def of_content(self, file: File) -> list[VideoRecord]:
        """The current videos of a file's content."""
        keys = dict.fromkeys(file.keys)
        return [record for key in keys for record in self._by_key.get(key, [])]

    def usable_key(self, file: File) -> str | None:
        """Names the rows that the file may get; None where there are none."""
        return next((key for key in file.keys if self.usable is None or key in self.usable), None)

    def folder_of(self, record: VideoRecord) -> str:
        """The folder that a record's id is a path below."""
        return place_of(record, self.roots)[0]

    def folder_sizes(self) -> Counter[str]:
        """How many videos each folder has."""
        return Counter(self.folder_of(record) for record in self.current.values())

    def new_root(self, folder: str, roots: dict[str, Root]) -> Root:
        """A root for a folder, with a name that no row and none of `roots` has."""
        return Root(name=Roots(roots).new_name(folder, self.root_names), folder=folder, origin=folder)


def _is_same_name(record: VideoRecord, path: str) -> bool:
    """Whether a record's path, in the other Unicode form, means the same file: it does on some file systems; where
    it does not, there may be a file of either name."""
    try:
        return os.path.samefile(record.path, path)
    except (OSError, ValueError):
        return True


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


class Rows:
    """All rows of a store as it is now, superseded and removed ones too, to be given to other files.

    Args:
        earlier: the store as it was before.
    """

    def __init__(self, store: Path, earlier: FeatureStore) -> None:
        self.store = FeatureStore(store, earlier=earlier)
        self._frames: dict[int, FrameShard | None] = {}

    def newest(self, keys: Set[str]) -> dict[str, Location]:
        """Per content, see `content_key`, its newest rows; rows that have kept frames come first."""
        found: dict[str, Location] = {}
        for at in self.store.rows():
            key = content_key(at.record)
            if key in keys and (key not in found or self._kept(at) or not self._kept(found[key])):
                found[key] = at
        return found

    def copy(self, location: Location, record: VideoRecord, writer: StoreWriter) -> None:
        """Write the features, times and kept frames at a place as those of `record`."""
        shard, rows = self.store.shards[location.shard], slice(location.start, location.stop)
        kept = self._kept(location)
        images = (
            kept.images(location.record.video_id) if kept else frames_of(self.store.path, shard, location)
        )
        jpegs = FrameJpegs(tuple(images)) if images else None
        writer.add(record, shard.features[rows], shard.timestamps[rows], jpegs=jpegs)

    def _kept(self, location: Location) -> FrameShard | None:
        """The frame shard that holds a row's frames. One that holds an id twice cannot say whose they are."""
        if location.shard not in self._frames:
            path = self.store.path / FRAME_FOLDER / self.store.shards[location.shard].path.name
            self._frames[location.shard] = FrameShard(path) if path.exists() else None
        frames = self._frames[location.shard]
        return frames if frames is not None and location.record.video_id in frames else None


def settle_ids(
    store: Path, written: Mapping[str, str], planned: FeatureStore, writer: StoreWriter
) -> list[str]:
    """Give every path of a contested id an id of its own, and return a note for each.

    Writers need no lock, so two processes may give a free id away; each looks at the end whether another path was
    written under one of its ids since it planned. The path that sorts first keeps the id, the other gets the next free
    one; both processes come to the same answer.

    Args:
        written: video id -> path that this process wrote under it.
        planned: the store when this process planned; it knew these rows' ids, so that none of them is a rival, wherever
            `compact` may have put them since.
    """
    rows = Rows(store, planned)
    taken = rows.store.paths
    notes = []
    for video_id, rivals in _contested(rows.store, written, planned).items():
        keeper, *others = (rivals[path] for path in sorted(rivals))
        if taken[video_id] != keeper.record.path:
            rows.copy(keeper, keeper.record, writer)
            taken[video_id] = keeper.record.path
        for at in others:
            path = Path(at.record.path)
            root = path.parents[len(Path(video_id).parts) - 1]
            new_id, note = choose_video_id(Candidate(path, root), taken)
            if taken.get(new_id) != at.record.path:
                rows.copy(at, replace(at.record, video_id=new_id), writer)
                taken[new_id] = at.record.path
            if note:
                notes.append(note)
    writer.flush()
    return notes


def _contested(
    store: FeatureStore, written: Mapping[str, str], planned: FeatureStore
) -> dict[str, dict[str, Location]]:
    """Video id -> path -> its newest rows, superseded or not, for the ids that got more than one path since then."""
    known = {_place(at.record) for at in planned.rows() if at.record.video_id in written}
    old_shards = {shard.path for shard in planned.shards}
    found: dict[str, dict[str, Location]] = {}
    for at in store.rows():
        record = at.record
        if record.video_id not in written or store.shards[at.shard].path in old_shards:
            continue
        if written[record.video_id] == record.path or _place(record) not in known:
            found.setdefault(record.video_id, {})[record.path] = at
    return {video_id: rivals for video_id, rivals in found.items() if len(rivals) > 1}


def _place(record: VideoRecord) -> tuple[str, str | None, str]:
    """Id and place of a row, whatever its root's folder is now."""
    return record.video_id, record.root, record.relative_path or record.path
