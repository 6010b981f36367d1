"""`vtr store verify`: reads everything once and says what cannot be trusted; sets damaged files aside on request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.files import TEMPORARY_PREFIX
from vtrcli.store.config import CONFIG_NAME, StoreConfig, read_config
from vtrcli.store.frames import FRAME_FOLDER, FrameShard, frame_paths
from vtrcli.store.reader import SHARD_FOLDER, backbone_problem, offsets_problem, shard_paths
from vtrcli.store.shard import Shard, open_shard
from vtrcli.store.texts import BANK_NAME, open_texts, text_paths, texts_of

# A writer renames its temporary file, and puts features beside its frames, within minutes; what is an hour old
# has lost its writer, even on a slow network disk.
ABANDONED_SECONDS = 3600.0
BLOCK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What `verify` found.

    `problems` is one sentence per damaged file, shards first; `num_frames` counts superseded rows too; `num_bytes`
    covers kept frames and texts. `leftovers` is what interrupted runs left: unfinished files, and frames whose
    features were never written.
    """

    num_shards: int
    num_frames: int
    num_bytes: int
    problems: tuple[tuple[Path, str], ...]
    leftovers: tuple[Path, ...]


def verify(store: Path) -> VerifyReport:
    """Check the format, checksums and offsets of every file, and the finiteness and backbone of features.

    Raises:
        StoreError: no store here, or a store of a newer format.
    """
    config = read_config(store)
    shards, frames = shard_paths(store), frame_paths(store)
    texts = [*text_paths(store), *store.glob(BANK_NAME)]
    left = tuple(leftovers(store))
    problems: list[tuple[Path, str]] = []
    num_frames = 0
    for path in shards:
        try:
            shard = open_shard(path)
            num_frames += shard.file.shape("features")[0]
            detail = find_problem(shard, config)
        except StoreError as error:
            detail = error.came_in
        if detail:
            problems.append((path, detail))
    checks = [(path, _frame_problem) for path in frames] + [(path, _text_problem) for path in texts]
    for path, find in checks:
        try:
            detail = find(path)
        except StoreError as error:
            detail = error.came_in
        if detail:
            problems.append((path, detail))
    return VerifyReport(
        num_shards=len(shards),
        num_frames=num_frames,
        num_bytes=sum(path.stat().st_size for path in (*shards, *frames, *texts)),
        problems=tuple(problems),
        leftovers=left,
    )


def find_problem(shard: Shard, config: StoreConfig) -> str | None:
    """The first thing wrong with a shard whose header could be read; reads all of it."""
    wrong = shard.file.wrong_checksums()
    if wrong:
        return f"the bytes of {', '.join(wrong)} are not those that were written"
    problem = offsets_problem(shard) or backbone_problem(shard, config)
    if problem:
        return problem
    rows = shard.features
    if not all(
        np.isfinite(rows[first : first + BLOCK_ROWS]).all() for first in range(0, len(rows), BLOCK_ROWS)
    ):
        return "features are not finite"
    if not np.isfinite(shard.timestamps[:]).all():
        return "timestamps are not finite"
    return None


def _frame_problem(path: Path) -> str | None:
    return FrameShard(path).find_problem()


def _text_problem(path: Path) -> str | None:
    file = open_texts(path)
    wrong = file.wrong_checksums()
    if wrong:
        return f"the bytes of {', '.join(wrong)} are not those that were written"
    texts_of(file)
    return None


def leftovers(store: Path) -> Iterator[Path]:
    """What writers that are gone left; never what a running one may still finish."""
    shards = {path.name for path in shard_paths(store)}
    unfinished = [
        *store.glob(f"{TEMPORARY_PREFIX}*"),
        *store.glob(f".{CONFIG_NAME}-*"),
        *store.glob(f"*/{TEMPORARY_PREFIX}*"),
    ]
    lonely = [path for path in frame_paths(store) if path.name not in shards]
    for path in sorted(unfinished) + lonely:
        try:
            is_old = time.time() - path.stat().st_mtime > ABANDONED_SECONDS
        except FileNotFoundError:  # its writer has just renamed it
            continue
        if is_old:
            yield path


def repair(report: VerifyReport) -> list[Path]:
    """Rename damaged files to `*.damaged` and delete unfinished ones; returns the new names.

    The videos of a shard that was set aside are extracted again by the next `vtr extract`, the texts of a text file
    are encoded again by `vtr cache`. Kept frames without a feature shard of their name are of no use, so they are
    set aside as well.

    Raises:
        StoreError: a file cannot be renamed or deleted.
    """
    aside = dict.fromkeys(path for path, _ in report.problems)
    aside.update(dict.fromkeys(path for path in report.leftovers if not path.name.startswith(".")))
    for path in list(aside):
        frames = path.parent.parent / FRAME_FOLDER / path.name
        if path.parent.name == SHARD_FOLDER and frames.exists():
            aside[frames] = None
    renamed = []
    try:
        for path in aside:
            renamed.append(path.rename(path.with_name(path.name + ".damaged")))
        for path in report.leftovers:
            if path.name.startswith("."):
                path.unlink(missing_ok=True)
    except OSError as cause:
        raise StoreError(
            f"cannot set {path} aside: {cause.strerror}",
            allowed="the store's folders must be writable",
            to_do="change their permissions, then run the same command again",
        ) from cause
    return renamed
