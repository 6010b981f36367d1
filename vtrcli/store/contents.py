"""What a store holds, by kind, and what of it counts no more: for `vtr store info`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vtrcli.store.frames import FRAME_FOLDER, FrameShard, frame_paths
from vtrcli.store.reader import FeatureStore, shard_paths
from vtrcli.store.texts import BANK_NAME, open_texts, text_paths

INDEX_FOLDER = "index"


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
        num_superseded, num_removed: rows of videos that were extracted again, or taken out.
        num_dead_bytes: what those take up; `vtr store compact` frees it.
    """

    features: Kind
    frames: Kind
    texts: Kind
    derived: Kind
    num_missing: int
    num_superseded: int
    num_removed: int
    num_dead_bytes: int


def contents(opened: FeatureStore) -> Contents:
    """Count it; opens headers and asks for each video's file.

    Raises:
        StoreError: a file is damaged.
    """
    store, videos = opened.path, opened.videos
    num_superseded = num_removed = num_dead_bytes = num_with_frames = 0
    row_bytes = 2 * opened.config.backbone.dim + 4
    for number, shard in enumerate(opened.shards):
        path, offsets = store / FRAME_FOLDER / shard.path.name, shard.offsets.tolist()
        frames = FrameShard(path) if path.exists() else None
        for position, record in enumerate(shard.records):
            at, start, stop = videos.get(record.video_id), offsets[position], offsets[position + 1]
            has_frames = frames is not None and record.video_id in frames
            if at is not None and (at.shard, at.start, at.stop) == (number, start, stop):
                num_with_frames += has_frames
                continue
            num_superseded += at is not None
            num_removed += at is None
            num_dead_bytes += (stop - start) * row_bytes
            if frames is not None and has_frames:
                num_dead_bytes += frames.num_bytes(record.video_id)
    texts = [*text_paths(store), *store.glob(BANK_NAME)]
    num_texts = sum(open_texts(path).shape("text_offsets")[0] - 1 for path in texts)
    derived = list((store / INDEX_FOLDER).rglob("*.safetensors"))
    return Contents(
        features=_kind(shard_paths(store), len(videos)),
        frames=_kind(frame_paths(store), num_with_frames),
        texts=_kind(texts, num_texts),
        derived=_kind(derived, len(derived)),
        num_missing=sum(not os.path.exists(location.record.path) for location in videos.values()),
        num_superseded=num_superseded,
        num_removed=num_removed,
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
