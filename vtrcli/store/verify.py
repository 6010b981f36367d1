"""`vtr store verify`: reads everything once and says what cannot be trusted; sets damaged shards aside on request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.files import TEMPORARY_PREFIX
from vtrcli.store.config import StoreConfig, read_config
from vtrcli.store.reader import backbone_problem, offsets_problem, shard_paths
from vtrcli.store.shard import Shard, open_shard


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What `verify` found. `problems` is one sentence per damaged file; `num_frames` counts superseded rows too."""

    num_shards: int
    num_frames: int
    num_bytes: int
    problems: tuple[tuple[Path, str], ...]
    leftovers: tuple[Path, ...]


def verify(store: Path) -> VerifyReport:
    """Check the format, checksums, offsets, finiteness and backbone of every shard.

    Raises:
        StoreError: no store here, or a store of a newer format.
    """
    config = read_config(store)
    problems: list[tuple[Path, str]] = []
    num_frames = num_bytes = 0
    paths = shard_paths(store)
    for path in paths:
        num_bytes += path.stat().st_size
        try:
            shard = open_shard(path)
        except StoreError as error:
            problems.append((path, error.came_in))
            continue
        detail = find_problem(shard, config)
        if detail:
            problems.append((path, detail))
        num_frames += shard.file.shape("features")[0]
    return VerifyReport(
        num_shards=len(paths),
        num_frames=num_frames,
        num_bytes=num_bytes,
        problems=tuple(problems),
        leftovers=tuple(sorted(store.glob(f"*/{TEMPORARY_PREFIX}*"))),
    )


def find_problem(shard: Shard, config: StoreConfig) -> str | None:
    """The first thing wrong with a shard whose header could be read; reads all of it."""
    wrong = shard.file.wrong_checksums()
    if wrong:
        return f"the bytes of {', '.join(wrong)} are not those that were written"
    problem = offsets_problem(shard) or backbone_problem(shard, config)
    if problem:
        return problem
    if not np.isfinite(shard.features).all():
        return "features are not finite"
    if not np.isfinite(shard.timestamps).all():
        return "timestamps are not finite"
    return None


def repair(report: VerifyReport) -> list[Path]:
    """Rename damaged shards to `*.damaged` and delete left-over temporary files; returns the new names.

    The videos of a shard that was set aside are extracted again by the next `vtr extract`.
    """
    renamed = []
    for path, _ in report.problems:
        target = path.with_name(path.name + ".damaged")
        path.rename(target)
        renamed.append(target)
    for path in report.leftovers:
        path.unlink(missing_ok=True)
    return renamed
