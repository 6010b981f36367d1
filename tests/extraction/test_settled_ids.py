"""Ids that two processes gave away are settled after writing, wherever their rows have been put since."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.store.stores import SHA256, make_record, make_store
from vtrcli.extraction.recognize import settle_ids
from vtrcli.store.compact import compact
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter


def write(store: Path, video_id: str, path: str) -> StoreWriter:
    writer = StoreWriter(store, backbone_sha256=SHA256)
    writer.add(make_record(video_id, path=path), np.ones((1, 4)), np.zeros(1))
    writer.flush()
    return writer


def paths(store: Path) -> dict[str, str]:
    return {video_id: at.record.path for video_id, at in FeatureStore(store).videos.items()}


def test_the_path_that_sorts_first_keeps_a_contested_id(tmp_path: Path) -> None:
    store = make_store(tmp_path, {})
    planned = FeatureStore(store)
    writer = write(store, "clip", "/two/clip.mp4")
    write(store, "clip", "/one/clip.mp4")
    settle_ids(store, {"clip": "/two/clip.mp4"}, planned, writer)
    assert paths(store)["clip"] == "/one/clip.mp4" and "/two/clip.mp4" in paths(store).values()


def test_a_row_that_was_known_is_no_rival_after_compacting(tmp_path: Path) -> None:
    """A renamed file keeps its id; `compact` puts its old row into a shard that was not there before."""
    store = make_store(tmp_path, {})
    write(store, "clip", "/videos/a.mp4")
    write(store, "other", "/videos/b.mp4")
    planned = FeatureStore(store)
    compact(store)
    writer = write(store, "clip", "/videos/z.mp4")
    assert settle_ids(store, {"clip": "/videos/z.mp4"}, planned, writer) == []
    assert paths(store) == {"clip": "/videos/z.mp4", "other": "/videos/b.mp4"}
