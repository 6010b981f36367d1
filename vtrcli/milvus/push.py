"""`push`: a feature store into Milvus, only what differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vtrcli.errors import StoreError
from vtrcli.milvus.rows import (
    FRAMES,
    PREFIX,
    Label,
    collection_name,
    find_label,
    make_collection,
    read_label,
    ready,
    vector_width,
)
from vtrcli.milvus.server import TIMEOUT_SECONDS, MilvusServer
from vtrcli.milvus.sync import Sync, delete_videos, listed
from vtrcli.milvus.wanted import RunVectors, WantedVideo, wanted_frames, wanted_vectors
from vtrcli.store.reader import FeatureStore

BATCH_BYTES = 4 * 1024 * 1024

OnProgress = Callable[[int, int], None]


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
            _open(server, name, label, width=width[space])
            syncs[space] = Sync(server, name, wanted[space])
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


def _open(server: MilvusServer, name: str, label: Label, *, width: int) -> None:
    with server.calling("asking for its collections") as client:
        there = client.has_collection(name, timeout=server.timeout_seconds)
    if not there:
        make_collection(server, name, label, width=width)
    found = read_label(server, name)
    have, want = found.backbone, label.backbone
    if (found.prefix, found.space) != (label.prefix, label.space):
        raise StoreError(
            f"collection {name} at {server.name} belongs to prefix {found.prefix!r}, space {found.space!r}",
            allowed="prefixes and spaces whose names do not run into each other",
            to_do="choose another --prefix",
        )
    if have.sha256 != want.sha256:
        raise StoreError(
            f"collection {name} at {server.name} holds features of {have.name} (weights {have.sha256[:12]}), "
            f"not of {want.name} (weights {want.sha256[:12]})",
            allowed="the collections of a prefix hold one backbone",
            to_do=f"use another --prefix for {want.name}",
        )
    if (there_width := vector_width(server, name)) != width:
        raise StoreError(
            f"collection {name} at {server.name} holds vectors of width {there_width}, not {width}",
            allowed="a space holds the vectors of one model",
            to_do="push them as another space, or drop the collection",
        )
    ready(server, name)


def spaces_of(server: MilvusServer, prefix: str) -> list[str]:
    """Names of the spaces of a prefix, besides the frames."""
    with server.calling("asking for its collections") as client:
        names = sorted(client.list_collections(timeout=server.timeout_seconds))
    spaces = [name.removeprefix(f"{prefix}_") for name in names if name.startswith(f"{prefix}_")]
    return [space for space in spaces if space != FRAMES and _belongs(server, prefix, space)]


def _belongs(server: MilvusServer, prefix: str, space: str) -> bool:
    label = find_label(server, f"{prefix}_{space}")  # somebody else's name may begin alike
    return label is not None and (label.prefix, label.space) == (prefix, space)


def _remove_stale_vectors(
    server: MilvusServer, prefix: str, frames: dict[str, WantedVideo], *, spaces: set[str]
) -> None:
    """Vectors that are not part of this push must not outlive their video."""
    for space in spaces_of(server, prefix):
        if space not in spaces:
            name = collection_name(prefix, space)
            ready(server, name)
            current = {key: video.version for key, video in frames.items()}
            stale = [
                key
                for key, (tag, _) in listed(server, name).items()
                if tag.partition("-")[0] != current.get(key)
            ]
            delete_videos(server, name, stale)
