"""`push`: a feature store into Milvus, only what differs. Stopped at any moment and run again, it ends the same.

A video counts as there in a version when its frame 0 is; that row is written last. The number of all rows then tells
whether an earlier push was stopped half way, and only in that case are all rows looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vtrcli.errors import InputError, StoreError
from vtrcli.milvus.collection import FRAMES, PREFIX, Collection, Label, collection_name
from vtrcli.milvus.rows import about_video, fits, video_key, video_rows
from vtrcli.milvus.server import TIMEOUT_SECONDS, MilvusServer
from vtrcli.store.reader import FeatureStore, Location, unit_rows
from vtrcli.store.records import VideoRecord

RunVectors = Mapping[str, tuple[Sequence[str], np.ndarray]]
OnProgress = Callable[[int, int], None]
ROW_BYTES = 300  # of a row, beside its vector and its texts
BATCH_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class WantedVideo:
    """A video as it should be in a collection. `version` changes with the content of its rows; `rows` gives them:
    vectors float32 [n, width] and seconds float32 [n]."""

    record: VideoRecord
    version: str
    rows: Callable[[], tuple[np.ndarray, np.ndarray]]


def wanted_frames(store: FeatureStore) -> dict[str, WantedVideo]:
    """Per video key the frames of a store; they are read when they are sent."""

    def video(video_id: str, location: Location) -> WantedVideo:
        return WantedVideo(
            location.record,
            _version_of(store, location),
            lambda: (unit_rows(store.features(video_id)), store.timestamps(video_id)),
        )

    return {video_key(video_id): video(video_id, location) for video_id, location in store.videos.items()}


def wanted_vectors(store: FeatureStore, vectors: RunVectors) -> dict[str, dict[str, WantedVideo]]:
    """Per space and video key one row. Raises InputError where the vectors do not fit the store."""
    spaces: dict[str, dict[str, WantedVideo]] = {}
    for space, (ids, rows) in vectors.items():
        unknown = next((video_id for video_id in ids if video_id not in store.videos), None)
        if space == FRAMES or unknown is not None or rows.ndim != 2 or len(ids) != len(rows):
            raise InputError(
                f"space {space!r}: {len(ids):,} video ids and vectors of shape {list(rows.shape)}"
                + (f", and {unknown!r} is not in the store" if unknown is not None else ""),
                allowed=f"one vector per video of the store, and any name but {FRAMES!r}",
                to_do="make the vectors from this store",
            )
        spaces[space] = {
            video_key(video_id): _run_video(store, store.videos[video_id], np.asarray(row, np.float32))
            for video_id, row in zip(ids, rows, strict=True)
        }
    return spaces


def _run_video(store: FeatureStore, location: Location, vector: np.ndarray) -> WantedVideo:
    # The version of the video comes first: its vector goes when the video changes.
    tag = f"{_version_of(store, location)}-{hashlib.sha256(vector.tobytes()).hexdigest()[:16]}"
    return WantedVideo(location.record, tag, lambda: (vector[None], np.zeros(1, np.float32)))


def _version_of(store: FeatureStore, location: Location) -> str:
    """Says which features these are; where they lie in the store may change."""
    first = store.shards[location.shard].features[location.start : location.start + 1].tobytes().hex()
    text = f"{location.record.extracted_at!r}:{location.num_frames}:{location.record.fingerprint}:{first}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


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

    def __init__(self, collection: Collection, wanted: dict[str, WantedVideo]) -> None:
        self.collection, self.wanted = collection, wanted
        self.counts = Counts()
        collection.flush_local()  # what a stopped push left in milvus-lite's memory is slow to read
        self.listed = collection.listed()
        broken = _broken_videos(collection, self.listed)
        collection.delete_videos(broken)
        for key in broken:
            self.listed.pop(key, None)
        self.to_do = [key for key, video in wanted.items() if self.listed.get(key, ("",))[0] != video.version]

    @property
    def num_to_do(self) -> int:
        """Videos to write."""
        return len(self.to_do)

    def run(self, batch_bytes: int, on_progress: Callable[[int], None]) -> None:
        """Remove what is no longer wanted, write what is new or changed."""
        counts = self.counts
        gone = [key for key in self.listed if key not in self.wanted]
        self.collection.delete_videos(gone)
        counts.removed, counts.unchanged = len(gone), len(self.wanted) - self.num_to_do
        rows: list[dict[str, Any]] = []
        stale: list[str] = []
        num_bytes = 0
        for done, key in enumerate(self.to_do):
            if key in self.listed:
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
            self.collection.flush_local()

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
        if key in self.listed:
            self.counts.changed += 1
        else:
            self.counts.added += 1
        return video_rows(about, vectors, seconds)

    def _write(self, stale: list[str], rows: list[dict[str, Any]]) -> None:
        self.collection.delete_videos(stale)
        self.collection.write(rows)


def _broken_videos(collection: Collection, listed_videos: dict[str, tuple[str, int]]) -> list[str]:
    """Keys of videos that a stopped push left with too few or too many rows."""
    if collection.num_rows() == sum(num_frames for _, num_frames in listed_videos.values()):
        return []
    num_found: dict[str, int] = {}
    broken: set[str] = set()
    for page in collection.pages("frame >= 0", ("video_key", "version", "num_frames", "frame")):
        for row in page:
            key = row["video_key"]
            num_found[key] = num_found.get(key, 0) + 1
            if listed_videos.get(key) != (row["version"], int(row["num_frames"])):
                broken.add(key)
    return sorted(
        broken | {key for key, number in num_found.items() if number != listed_videos.get(key, ("", 0))[1]}
    )


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """What a push did with the frames. `num_vectors` per space: how many vectors were written.

    `refused`: (video id, reason) of videos that cannot be in Milvus.
    """

    num_added: int
    num_changed: int
    num_removed: int
    num_unchanged: int
    num_vectors: dict[str, int]
    refused: tuple[tuple[str, str], ...]


def push(
    store: FeatureStore,
    *,
    uri: str,
    token: str | None = None,
    prefix: str = PREFIX,
    vectors: RunVectors | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    batch_bytes: int = BATCH_BYTES,
    on_progress: OnProgress = lambda num_done, total: None,
) -> PushResult:
    """Make the collections of `prefix` hold exactly the videos of a store. One store per prefix, one push at a time.

    Args:
        vectors: per space (such as the name of a trained run) video ids and float [num_videos, width]; searched by
            inner product, kept as they are. Vectors of other spaces stay as long as their video is unchanged.
        timeout_seconds: of the connection and of each call.
        batch_bytes: about how much is sent at once.
        on_progress: (videos and vectors done, to do); not called when nothing is new.

    Raises:
        UsageError: pymilvus is not installed, or a prefix or space that Milvus cannot take as a name.
        InputError: `vectors` do not fit the store.
        StoreError: no server, a wrong token, a lost connection, or collections that are not this store's.
    """
    names = {space: collection_name(prefix, space) for space in (FRAMES, *(vectors or {}))}
    wanted = {FRAMES: wanted_frames(store), **wanted_vectors(store, vectors or {})}
    width = {FRAMES: store.config.backbone.dim}
    width |= {space: rows.shape[1] for space, (_, rows) in (vectors or {}).items()}
    server = MilvusServer(uri, token=token, must_exist=False, timeout_seconds=timeout_seconds)
    try:
        syncs: dict[str, Sync] = {}
        for space, name in names.items():
            label = Label(prefix=prefix, space=space, backbone=store.config.backbone)
            collection = Collection(server, name)
            _open(collection, label, width=width[space])
            syncs[space] = Sync(collection, wanted[space])
        _run(list(syncs.values()), batch_bytes, on_progress)
        _remove_stale_vectors(server, prefix, wanted[FRAMES], spaces=set(names))
    finally:
        server.close()
    frames = syncs[FRAMES].counts
    return PushResult(
        num_added=frames.added,
        num_changed=frames.changed,
        num_removed=frames.removed,
        num_unchanged=frames.unchanged,
        num_vectors={space: syncs[space].counts.written for space in vectors or {}},
        refused=tuple(frames.refused),
    )


def _run(syncs: list[Sync], batch_bytes: int, on_progress: OnProgress) -> None:
    total = sum(sync.num_to_do for sync in syncs)
    before = 0

    def report(num_done: int) -> None:
        on_progress(before + num_done, total)

    for sync in syncs:
        sync.run(batch_bytes, report)
        before += sync.num_to_do


def _open(collection: Collection, label: Label, *, width: int) -> None:
    if not collection.exists():
        collection.make(label, width=width)
    found = collection.label
    have, want = found.backbone, label.backbone
    if (found.prefix, found.space) != (label.prefix, label.space):
        raise StoreError(
            f"collection {collection} belongs to prefix {found.prefix!r}, space {found.space!r}",
            allowed="prefixes and spaces whose names do not run into each other",
            to_do="choose another --prefix",
        )
    if have.sha256 != want.sha256:
        raise StoreError(
            f"collection {collection} holds features of {have.name} (weights {have.sha256[:12]}), "
            f"not of {want.name} (weights {want.sha256[:12]})",
            allowed="the collections of a prefix hold one backbone",
            to_do=f"use another --prefix for {want.name}",
        )
    if (there_width := collection.width()) != width:
        raise StoreError(
            f"collection {collection} holds vectors of width {there_width}, not {width}",
            allowed="a space holds the vectors of one model",
            to_do="push them as another space, or drop the collection",
        )
    collection.load()


def spaces_of(server: MilvusServer, prefix: str) -> list[str]:
    """Names of the spaces of a prefix, besides the frames."""
    with server.calling("asking for its collections") as client:
        names = sorted(client.list_collections(timeout=server.timeout_seconds))
    spaces = [name.removeprefix(f"{prefix}_") for name in names if name.startswith(f"{prefix}_")]
    return [space for space in spaces if space != FRAMES and _belongs(server, prefix, space)]


def _belongs(server: MilvusServer, prefix: str, space: str) -> bool:
    label = Collection(server, f"{prefix}_{space}").find_label()  # somebody else's name may begin alike
    return label is not None and (label.prefix, label.space) == (prefix, space)


def _remove_stale_vectors(
    server: MilvusServer, prefix: str, frames: dict[str, WantedVideo], *, spaces: set[str]
) -> None:
    """Vectors that are not part of this push must not outlive their video."""
    for space in spaces_of(server, prefix):
        if space not in spaces:
            collection = Collection(server, collection_name(prefix, space))
            collection.load()
            current = {key: video.version for key, video in frames.items()}
            stale = [
                key
                for key, (tag, _) in collection.listed().items()
                if tag.partition("-")[0] != current.get(key)
            ]
            collection.delete_videos(stale)
