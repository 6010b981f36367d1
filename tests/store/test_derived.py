"""Derived rows are computed once per shard, follow the current videos, and vanish with their shard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import make_store
from tests.store.test_catalog import add, some_frames
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.derived import TableSpec, current_rows, derived_tables
from vtrcli.store.shard import Shard
from vtrcli.store.writer import remove_videos


class Counter:
    """Computes the number of frames and their sum; counts how often."""

    def __init__(self) -> None:
        self.shards: list[str] = []

    def __call__(self, shard: Shard) -> dict[str, np.ndarray]:
        self.shards.append(shard.path.name)
        sums = np.add.reduceat(shard.features[:].astype(np.float32).sum(axis=1), shard.offsets[:-1])
        return {"sums": np.stack([np.diff(shard.offsets), sums], axis=1)}


SPEC = TableSpec(name="sums", tensors={"sums": ("F32", 2)}, version=1)


def rows_of(store: Path, compute: Counter) -> dict[str, float]:
    catalog = open_catalog(store)
    tables = derived_tables(catalog, SPEC, compute)
    rows = np.concatenate([table["sums"] for table in tables])[current_rows(catalog)]
    for number in range(catalog.num_videos):
        np.testing.assert_allclose(
            rows[number, 1], catalog.features(number).astype(np.float32).sum(), rtol=1e-4
        )
    return dict(zip(catalog.ids.all(), rows[:, 0].tolist(), strict=True))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path, {"a": some_frames(1), "b": some_frames(2)})


def test_only_new_shards_are_computed_and_current_videos_are_given(store: Path) -> None:
    compute = Counter()
    assert rows_of(store, compute) == {"a": 1, "b": 2}
    assert rows_of(store, compute) == {"a": 1, "b": 2} and len(compute.shards) == 1
    add(store, c=some_frames(3), a=some_frames(4))
    assert rows_of(store, compute) == {"a": 4, "b": 2, "c": 3} and len(compute.shards) == 2


def test_a_removal_costs_no_table_and_moves_no_row(store: Path) -> None:
    compute = Counter()
    rows_of(store, compute)
    remove_videos(store, ["a"])
    add(store, c=some_frames(3))
    assert rows_of(store, compute) == {"b": 2, "c": 3} and len(compute.shards) == 2
    assert len(list((store / "index" / "sums").iterdir())) == 2


def test_rows_of_a_shard_that_has_gone_are_removed_with_the_next_new_one(store: Path) -> None:
    rows_of(store, Counter())
    (old,) = (store / "shards").iterdir()
    old.unlink()
    add(store, x=some_frames(1))
    assert rows_of(store, Counter()) == {"x": 1}
    assert [path.name for path in (store / "index" / "sums").iterdir()] == [
        path.name for path in (store / "shards").iterdir()
    ]


def test_a_damaged_file_is_made_again_and_progress_is_told(store: Path) -> None:
    rows_of(store, Counter())
    (path,) = (store / "index" / "sums").iterdir()
    path.write_bytes(b"no tensors")
    told: list[tuple[int, int]] = []
    derived_tables(
        open_catalog(store), SPEC, Counter(), on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(0, 1), (1, 1)]
    assert rows_of(store, Counter()) == {"a": 1, "b": 2}


def test_a_store_that_cannot_be_written_is_computed_each_time(store: Path) -> None:
    (store / "index").write_text("not a folder")
    compute = Counter()
    assert rows_of(store, compute) == rows_of(store, compute) and len(compute.shards) == 2


def test_another_rule_or_another_content_of_the_shard_is_computed_again(store: Path) -> None:
    compute = Counter()
    rows_of(store, compute)
    catalog = open_catalog(store)
    derived_tables(catalog, replace(SPEC, version=2), compute)
    assert len(compute.shards) == 2
    rows_of(store, compute)
    assert len(compute.shards) == 3
    (path,) = (store / "shards").iterdir()
    body = path.read_bytes()
    path.unlink()
    add(store, a=some_frames(1), b=some_frames(2))  # the same videos and sizes, other features
    (other,) = (store / "shards").iterdir()
    other.rename(path)
    assert len(path.read_bytes()) == len(body)
    rows_of(store, compute)
    assert len(compute.shards) == 4
