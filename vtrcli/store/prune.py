"""Taking videos out of a store: those whose file is gone, those of a folder, or those that are named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vtrcli.errors import InputError, UsageError
from vtrcli.files import is_gone
from vtrcli.store.failures import forget_failures, read_failures, tidy_failures
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import VideoRecord, place_of
from vtrcli.store.roots import Roots, is_below, normal
from vtrcli.store.writer import remove_videos


@dataclass(frozen=True)
class Pruned:
    """What was taken out, or would be. `absent` are the roots that are not there, with the number of their videos that
    were therefore kept; `empty` those of the folders that were named that hold no video of the store."""

    videos: list[VideoRecord]
    absent: dict[str, int] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)


def prune(
    store: Path,
    *,
    missing: bool = False,
    under: Sequence[str | os.PathLike[str]] = (),
    names: Iterable[str] = (),
    spare_absent: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Remove the videos that all of what is given applies to, and the failures that it makes meaningless. Their bytes
    go with the next compaction.

    Args:
        missing: those whose file is gone, never those that have none (imported features). Where a root is not there
            (a disk that is not mounted) nothing is known of its files: they are kept, unless `under` names that
            root or a folder in it.
        under: folders or files, or names of roots.
        names: video ids, or paths of their files.
        spare_absent: keep what lies below a root that is not there although `under` names it.

    Raises:
        UsageError: nothing was given.
        InputError: an unknown id.
        StoreError: no store, a damaged one, or it cannot be written.
    """
    if not (missing or under or names):
        raise UsageError(
            "nothing says which videos are to be pruned",
            allowed="--missing, --under FOLDER, or video ids",
            to_do="try `vtr store prune --missing --dry-run`",
        )
    opened = FeatureStore(store)
    chosen = [location.record for location in opened.videos.values()]
    names = list(names)
    folders = [folder_named(opened.roots, given) for given in under]
    paths = [normal(record.path) for record in chosen]
    empty = [one for one in folders if not any(is_below(path, one) for path in paths)]
    if names:
        chosen = _named(chosen, names, store)
    if folders:
        chosen = [record for record in chosen if any(is_below(normal(record.path), one) for one in folders)]
    absent: Counter[str] = Counter()
    if missing:
        chosen, absent = _missing(
            chosen, opened.roots, [] if spare_absent else folders, are_named=bool(names)
        )
    if not dry_run:
        remove_videos(store, [record.video_id for record in chosen])
        if folders and not missing and not names:
            failed = (
                path
                for path in read_failures(store, [])
                if any(is_below(normal(path), one) for one in folders)
            )
            forget_failures(store, failed)
        tidy_failures(store, (location.record for location in FeatureStore(store).videos.values()))
    return Pruned(chosen, dict(sorted(absent.items())), empty)


def folder_named(roots: Roots, given: str | os.PathLike[str]) -> str:
    """The folder (in composed Unicode) that is meant: where a root of this name is, or the path itself."""
    name = os.fspath(given)
    if name in roots.by_name and not os.path.lexists(name):
        return normal(roots.by_name[name].folder)
    return normal(os.path.abspath(os.path.expanduser(name)))


def _named(records: list[VideoRecord], names: list[str], store: Path) -> list[VideoRecord]:
    by_id = {record.video_id: record for record in records}
    by_path = {normal(record.path): record for record in records}
    found: dict[str, VideoRecord] = {}
    unknown = []
    for name in names:
        record = by_id.get(name) or by_path.get(normal(os.path.abspath(name)))
        if record is None:
            unknown.append(name)
        else:
            found[record.video_id] = record
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is no video of {store}"
            + (f", nor are {len(unknown) - 1} more" * (len(unknown) > 1)),
            allowed="ids as `vtr search --json` prints them, or paths of files",
            to_do="check the name; --under takes a whole folder",
        )
    return list(found.values())


def _missing(
    records: list[VideoRecord], roots: Roots, named: list[str], *, are_named: bool
) -> tuple[list[VideoRecord], Counter[str]]:
    """Those whose file is gone, and per root that is not there how many were kept."""
    is_there: dict[str, bool] = {}
    absent: Counter[str] = Counter()
    gone = []
    for record in records:
        if not record.has_file:  # imported: there never was one
            continue
        folder, _ = place_of(record, roots)
        if folder not in is_there:
            is_there[folder] = root_is_there(record, roots, folder)
        if is_there[folder] or are_named or any(is_below(one, normal(folder)) for one in named):
            if is_gone(record.path):
                gone.append(record)
        else:
            absent[folder] += 1
    return gone, absent


def root_is_there(record: VideoRecord, roots: Roots, folder: str) -> bool:
    """Whether the folder that a video was extracted from can be looked into. Of records of the first releases nobody
    knows whether it was a mount point; then an empty folder may be one without its disk."""
    root = roots.by_name.get(record.root or "")
    if root is not None:
        return root.is_there()
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False
