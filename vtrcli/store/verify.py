"""`vtr store verify`: reads everything once and says what cannot be trusted; sets damaged files aside on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.files import is_abandoned
from vtrcli.store.config import BANK_NAME, SHARD_FOLDER, StoreConfig, read_config, require_inside
from vtrcli.store.frames import FRAME_FOLDER, FrameShard, frame_paths
from vtrcli.store.reader import backbone_problem, offsets_problem, shard_paths
from vtrcli.store.records import unsound_videos
from vtrcli.store.roots import ROOTS_NAME, read_roots
from vtrcli.store.shard import NewerFormatError, Shard, open_shard
from vtrcli.store.texts import open_texts, text_paths, texts_of
from vtrcli.store.writer import leftovers, remove_videos

BLOCK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        num_frames: of all shards, superseded rows too; `num_bytes` covers kept frames and texts.
        problems: one sentence per damaged file, shards first; `repair` sets these files aside.
        unsound: shard, id and what the record says that no video can be; `repair` takes these videos out.
        others: what no repair can mend: files of a newer format, files that cannot be read, unknown roots.
        leftovers: unfinished files of interrupted runs.
    """

    num_shards: int
    num_frames: int
    num_bytes: int
    problems: tuple[tuple[Path, str], ...] = ()
    unsound: tuple[tuple[Path, str, str], ...] = ()
    others: tuple[tuple[Path, str], ...] = ()
    leftovers: tuple[Path, ...] = ()

    @property
    def all_problems(self) -> tuple[tuple[Path, str], ...]:
        """Everything that is not as it should be, in one list."""
        return (*self.problems, *((path, detail) for path, _, detail in self.unsound), *self.others)


def verify(store: Path) -> VerifyReport:
    """Check the format, checksums and offsets of every file, the finiteness and backbone of features, and that no video
    says of itself what cannot be.

    Raises:
        StoreError: no store here, or a store of a newer format.
    """
    config = read_config(store)
    found = _Found(store)
    shards, frames = shard_paths(store), frame_paths(store)
    texts = [*text_paths(store), *store.glob(BANK_NAME)]
    for path in shards:
        found.check(path, lambda path: found.shard_problem(path, config))
    for path in frames:
        found.check(path, _frame_problem)
    for path in texts:
        found.check(path, _text_problem)
    found.check_roots()
    return VerifyReport(
        num_shards=len(shards),
        num_frames=found.num_frames,
        num_bytes=sum(path.stat().st_size for path in (*shards, *frames, *texts) if path.exists()),
        problems=tuple(found.problems + _lonely_frames(store)),
        unsound=tuple(row for row in found.unsound if found.newest.get(row[1]) == row[0]),
        others=tuple(found.others),
        leftovers=tuple(leftovers(store)),
    )


class _Found:
    """What a pass over the files of a store gathers."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self.num_frames = 0
        self.problems: list[tuple[Path, str]] = []
        self.unsound: list[tuple[Path, str, str]] = []
        self.others: list[tuple[Path, str]] = []
        self.newest: dict[str, Path] = {}  # video id -> the shard that counts
        self._roots: dict[str, Path] = {}  # name of a root -> a shard that needs it

    def check(self, path: Path, find: Callable[[Path], str | None]) -> None:
        """Look at one file; what has just been compacted away is none of our concern."""
        try:
            detail = find(path)
        except NewerFormatError as error:
            self.others.append((path, error.came_in))
            return
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return
            if isinstance(error.__cause__, OSError):
                self.others.append((path, error.came_in))
                return
            detail = error.came_in
        if detail:
            self.problems.append((path, detail))

    def shard_problem(self, path: Path, config: StoreConfig) -> str | None:
        """The first thing wrong with a shard; reads all of it."""
        shard = open_shard(path)
        self.num_frames += shard.file.shape("features")[0]
        problem = find_problem(shard, config)
        if problem is None:
            for video_id in shard.removed:
                self.newest.pop(video_id, None)
            self.newest.update((record.video_id, path) for record in shard.records)
            self._roots.update((record.root, path) for record in shard.records if record.root is not None)
            unsound = unsound_videos(shard.records, shard.timestamps[:], shard.offsets)
            self.unsound += [(path, shard.records[number].video_id, why) for number, why in unsound.items()]
        return problem

    def check_roots(self) -> None:
        """Whether the paths of all records can be told."""
        try:
            known = read_roots(self._store).by_name
        except StoreError as error:
            self.others.append((self._store / ROOTS_NAME, error.came_in))
            return
        for name, path in self._roots.items():
            if name not in known:
                self.others.append(
                    (path, f"its videos lie below the root {name!r}, which {ROOTS_NAME} lacks")
                )


def find_problem(shard: Shard, config: StoreConfig) -> str | None:
    """The first thing wrong with a shard whose header could be read; reads all of it."""
    problem = shard.file.checksum_problem() or offsets_problem(shard) or backbone_problem(shard, config)
    if problem:
        return problem
    rows = shard.features
    if not all(
        np.isfinite(rows[first : first + BLOCK_ROWS]).all() for first in range(0, len(rows), BLOCK_ROWS)
    ):
        return "features are not finite"
    return None


def _frame_problem(path: Path) -> str | None:
    return FrameShard(path).find_problem()


def _text_problem(path: Path) -> str | None:
    file = open_texts(path)
    problem = file.checksum_problem()
    if problem is None:
        texts_of(file)
    return problem


def _lonely_frames(store: Path) -> list[tuple[Path, str]]:
    shards = {path.name for path in shard_paths(store)}
    detail = f"kept frames without {SHARD_FOLDER}/ of the same name, which was deleted or never written"
    return [(path, detail) for path in frame_paths(store) if path.name not in shards and is_abandoned(path)]


def repair(store: Path, report: VerifyReport) -> list[Path]:
    """Rename damaged files to `*.damaged`, take unsound videos out and delete unfinished files; returns the new names.

    The videos of a shard that was set aside are extracted again by the next `vtr extract`, the texts of a text file
    are encoded again by `vtr cache`. Kept frames without a feature shard of their name are of no use, so they are
    set aside as well.

    Raises:
        StoreError: a file cannot be renamed or deleted.
    """
    aside = dict.fromkeys(path for path, _ in report.problems)
    for path in list(aside):
        frames = path.parent.parent / FRAME_FOLDER / path.name
        if path.parent.name == SHARD_FOLDER and frames.exists():
            aside[frames] = None
    renamed = []
    for path in (*aside, *report.leftovers):
        require_inside(path.parent)
    try:
        for path in aside:
            renamed.append(path.rename(path.with_name(path.name + ".damaged")))
        for path in report.leftovers:
            path.unlink(missing_ok=True)
    except OSError as cause:
        raise StoreError(
            f"cannot set {path} aside: {cause.strerror}",
            allowed="the store's folders must be writable",
            to_do="change their permissions, then run the same command again",
        ) from cause
    if report.unsound and not report.others:
        remove_videos(store, [video_id for _, video_id, _ in report.unsound])
    return renamed
