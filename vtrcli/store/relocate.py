"""Telling a store that a folder of its videos is at another place now."""

from __future__ import annotations

import os
from collections.abc import Sized
from dataclasses import dataclass, replace
from pathlib import Path

from vtrcli.errors import InputError
from vtrcli.files import is_gone
from vtrcli.store.frames import FrameJpegs, frames_of
from vtrcli.store.prune import folder_named
from vtrcli.store.reader import FeatureStore, Location
from vtrcli.store.roots import Root, add_roots, below, is_below, joined, move_roots, normal
from vtrcli.store.writer import StoreWriter, remove_videos


@dataclass(frozen=True)
class Relocated:
    """What was moved, or would be: from one folder to another so many videos, of which so many are there."""

    old: str
    new: str
    num_videos: int
    num_found: int
    num_merged: int


def relocate(store: Path, old: str, new: Path, *, dry_run: bool = False) -> Relocated:
    """Say that what was in the folder `old` is in `new`. Where roots moved as a whole that is one write; videos of a
    folder inside a root get new rows. Killed in between and run again, it does the rest.

    A video whose new path is already in the store (it was extracted there too) is merged into that one.

    Args:
        old: a folder, or the name of a root.

    Raises:
        InputError: no video lies below `old`; `new` is no folder, or holds none of the files.
        StoreError: no store, a damaged one, or it cannot be written.
    """
    opened = FeatureStore(store)
    old_folder, new_folder = folder_named(opened.roots, old), os.path.abspath(new)
    inside = {
        video_id: location
        for video_id, location in opened.videos.items()
        if is_below(normal(location.record.path), old_folder) and normal(location.record.path) != old_folder
    }
    _require_sense(opened, inside, old_folder, new_folder)
    new_paths = {
        video_id: joined(new_folder, below(location.record.path, old_folder))
        for video_id, location in inside.items()
    }
    num_found = sum(not is_gone(path) for path in new_paths.values())
    if not num_found:
        raise InputError(
            f"none of the {len(inside):,} videos of {old_folder} is in {new_folder}",
            allowed="the folder that holds them by the same names",
            to_do="check the path; `vtr extract FOLDER` also finds files that were renamed",
        )
    others = {location.record.path for video_id, location in opened.videos.items() if video_id not in inside}
    merged = {video_id for video_id, path in new_paths.items() if path in others}
    if not dry_run:
        remove_videos(store, merged)
        rest = {video_id: location for video_id, location in inside.items() if video_id not in merged}
        _move(opened, rest, old_folder, new_folder)
    return Relocated(old_folder, new_folder, len(inside), num_found, len(merged))


def _require_sense(opened: FeatureStore, inside: Sized, old: str, new: str) -> None:
    if not inside:
        known = sorted({root.folder for root in opened.roots.by_name.values()})
        raise InputError(
            f"no video of {opened.path} is below {old}",
            allowed="a folder that videos were extracted from"
            + (f": {', '.join(known[:5])}" if known else ""),
            to_do="check the path, or extract the folder where the videos are now",
        )
    if not os.path.isdir(new):
        raise InputError(
            f"{new} is not a folder",
            allowed="the folder where the videos are now",
            to_do="check the path, or mount its disk",
        )


def _move(opened: FeatureStore, inside: dict[str, Location], old: str, new: str) -> None:
    """Roots that lie in the folder move; videos of a root around it get rows that name a root of their own."""
    moved = [root for root in opened.roots.by_name.values() if is_below(normal(root.folder), old)]
    names = {root.name for root in moved}
    rest = {video_id: at for video_id, at in inside.items() if at.record.root not in names}
    if rest and all(at.record.root is None for at in rest.values()):  # rows of the first releases get a root
        first = next(iter(rest.values())).record.path
        folder = first[: len(first) - len(below(first, old))].rstrip(os.sep) or os.sep
        root = Root(name=opened.roots.new_name(folder, _taken(opened)), folder=folder, origin=folder)
        moved.append(replace(root, name=add_roots(opened.path, [root])[root.name]))
        rest = {}
    targets = [joined(new, below(root.folder, old)).rstrip(os.sep) or os.sep for root in moved]
    move_roots(
        opened.path,
        [
            replace(root, folder=folder, is_mount=os.path.ismount(folder))
            for root, folder in zip(moved, targets, strict=True)
        ],
    )
    if rest:
        root = Root(
            name=opened.roots.new_name(new, _taken(opened)),
            folder=new,
            is_mount=os.path.ismount(new),
            origin=new,
        )
        known = next((one for one in opened.roots.by_name.values() if one.folder == new), None)
        name = known.name if known else add_roots(opened.path, [root])[root.name]
        _write_rows(opened, rest, old, new, name)


def _taken(opened: FeatureStore) -> set[str | None]:
    return {at.record.root for at in opened.videos.values()}


def _write_rows(opened: FeatureStore, videos: dict[str, Location], old: str, new: str, root: str) -> None:
    writer = StoreWriter(opened.path, backbone_sha256=opened.config.backbone.sha256)
    for video_id, at in videos.items():
        relative_path = below(at.record.path, old)
        record = replace(at.record, path=joined(new, relative_path), root=root, relative_path=relative_path)
        kept = frames_of(opened.path, opened.shards[at.shard], at)
        writer.add(
            record,
            opened.features(video_id),
            opened.timestamps(video_id),
            jpegs=FrameJpegs(tuple(kept)) if kept else None,
        )
    writer.flush()
