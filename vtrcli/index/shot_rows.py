"""One vector per shot of each video: what the approximate index holds instead of every frame."""

from __future__ import annotations

import itertools

import numpy as np

from vtrcli.index.catalog import Catalog
from vtrcli.index.derived import Columns, derived_tables
from vtrcli.index.graph import RowTable
from vtrcli.retrieval.frame_scores import unit_rows
from vtrcli.retrieval.shots import shot_starts
from vtrcli.store.shard import Shard

# A long shot drifts: no vector stands for more frames than this.
MAX_SHOT_FRAMES = 16
RULE_VERSION = 1  # to be raised with that, or with the rule of shots


def shot_rows(catalog: Catalog) -> list[RowTable]:
    """Per shard the unit means of the frames of each shot; computed for new shards, kept in `index/shots`.

    Raises:
        StoreError: a shard is damaged.
    """
    dim = catalog.config.backbone.dim
    tensors: dict[str, tuple[str, int | None]] = {"vectors": ("F16", dim), "positions": ("I64", None)}
    columns = Columns(name="shots", tensors=tensors, version=RULE_VERSION, per_video=False)
    tables = derived_tables(catalog, columns, _shots_of)
    return [RowTable(np.asarray(table["vectors"]), table["positions"]) for table in tables]


def _shots_of(shard: Shard) -> dict[str, np.ndarray]:
    vectors, positions, features = [], [], shard.features
    for position, (start, stop) in enumerate(itertools.pairwise(shard.offsets.tolist())):
        frames = unit_rows(features[start:stop])
        starts = _pieces(shot_starts(frames), len(frames))
        vectors.append(unit_rows(np.add.reduceat(frames, starts, axis=0)))
        positions += [position] * len(starts)
    return {"vectors": np.concatenate(vectors), "positions": np.array(positions)}


def _pieces(starts: np.ndarray, num_frames: int) -> np.ndarray:
    """First frames of shots, and of equal parts of those that are too long."""
    pieces = [
        np.arange(count) * (stop - start) // count + start
        for start, stop in itertools.pairwise([*starts.tolist(), num_frames])
        for count in [-(-(stop - start) // MAX_SHOT_FRAMES)]
    ]
    return np.concatenate(pieces).astype(np.int64)
