"""The approximate index proposes near rows, grows with the store, and forgets what has gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.index.test_catalog import add
from tests.store.stores import make_store
from vtrcli.index import graph as graphs
from vtrcli.index.catalog_file import open_catalog
from vtrcli.index.graph import Graph, open_graph
from vtrcli.index.shot_rows import shot_rows

RNG = np.random.default_rng(0)


def videos(prefix: str, num_videos: int) -> dict[str, np.ndarray]:
    return {f"{prefix}{number}": RNG.standard_normal((2, 4)) for number in range(num_videos)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path, videos("a", 30))


def open_shots(store: Path, told: list[tuple[int, int]] | None = None) -> Graph:
    catalog = open_catalog(store)
    told = [] if told is None else told
    return open_graph(
        catalog, "shots", shot_rows(catalog), on_progress=lambda done, total: told.append((done, total))
    )


def check(store: Path) -> None:
    """Every current video is the first answer to each of its own rows, and nothing else is ever proposed."""
    graph, catalog = open_shots(store), open_catalog(store)
    for number in range(catalog.num_videos):
        row = catalog.features(number)[0].astype(np.float32)
        found = graph.nearest_videos(row / np.linalg.norm(row), num_rows=40)
        assert number in found and set(found) <= set(range(catalog.num_videos))


def test_it_is_made_once_and_then_mapped(store: Path) -> None:
    told: list[tuple[int, int]] = []
    made = open_shots(store, told)
    assert told and told[-1][0] == told[-1][1] == made.num_rows
    assert open_shots(store, []).num_rows == made.num_rows and len(told) == 1
    check(store)


def test_new_shards_are_added_to_it(store: Path) -> None:
    before = open_shots(store).num_rows
    add(store, **videos("b", 10))
    told: list[tuple[int, int]] = []
    after = open_shots(store, told)
    assert after.num_rows > before and told == [(after.num_rows, after.num_rows)]
    check(store)


def test_superseded_videos_are_never_proposed(store: Path) -> None:
    open_shots(store)
    add(store, a0=RNG.standard_normal((3, 4)), a1=RNG.standard_normal((1, 4)))
    check(store)


def test_a_graph_of_mostly_dead_rows_is_made_anew(store: Path) -> None:
    size = open_shots(store).num_rows
    add(store, **videos("a", 20))  # 20 of the 30 videos again
    graph = open_shots(store)
    assert len(graph._index) == graph.num_rows == size
    told: list[tuple[int, int]] = []
    open_shots(store, told)
    assert told == []  # and not once more each time
    check(store)


def test_a_shard_that_has_gone_takes_its_videos_along(store: Path) -> None:
    add(store, **videos("b", 3))
    open_shots(store)
    sorted((store / "shards").iterdir())[-1].unlink()
    check(store)


@pytest.mark.parametrize("name", ["shots.usearch", "shots.json"])
@pytest.mark.parametrize("body", [b"", b"{}", b"nonsense" * 100])
def test_a_damaged_file_is_made_again(store: Path, name: str, body: bytes) -> None:
    open_shots(store)
    (graphs._folder(store) / name).write_bytes(body)
    check(store)


def test_a_stop_between_the_two_files_is_noticed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_shots(store)
    add(store, **videos("b", 5))

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(graphs, "write_whole", stopped)
        with pytest.raises(KeyboardInterrupt):
            open_shots(store)
    check(store)


def test_shots_of_a_long_still_video_are_cut_into_parts(tmp_path: Path) -> None:
    store = make_store(tmp_path, {"still": np.ones((100, 4)), "short": np.ones((1, 4))})
    (table,) = shot_rows(open_catalog(store))
    assert table.positions.tolist() == [0] * 7 + [1]
    np.testing.assert_allclose(np.linalg.norm(table.vectors.astype(float), axis=1), 1, atol=1e-3)


def test_a_graph_that_lies_in_a_store_is_never_read(store: Path) -> None:
    open_shots(store)
    for name in ("shots.usearch", "shots.json", "shots.graph.json"):
        (store / "index" / name).write_bytes(b"made by somebody else")
    told: list[tuple[int, int]] = []
    open_shots(store, told)
    assert told == []
    assert not list(store.rglob("*.lock"))
