"""A store of imported features, of which no video file is known, does all that can be done without one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import vtrcli as vtr
from tests.cli.runner import run, run_json
from tests.video_files import make_video
from vtrcli.errors import InputError, StoreError
from vtrcli.extraction.imports import import_features
from vtrcli.searching.filters import Filters
from vtrcli.searching.query import Query
from vtrcli.searching.searcher import Searcher
from vtrcli.searching.several import StoresSearcher
from vtrcli.store.compact import compact, contents
from vtrcli.store.exports import export_features
from vtrcli.store.prune import prune
from vtrcli.store.reader import FeatureStore
from vtrcli.store.relocate import relocate
from vtrcli.store.verify import verify

QUERY = "a red circle"


@pytest.fixture(scope="module")
def imported(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's features, exported and imported; read only."""
    folder = tmp_path_factory.mktemp("imported")
    export_features(demo / "store", folder / "archive", layout="npz")
    import_features(folder / "archive", folder / "store")
    return folder / "store"


@pytest.fixture
def own(imported: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(imported, tmp_path / "own"))


def test_it_answers_as_the_store_that_it_came_from(demo: Path, imported: Path) -> None:
    for moments in (False, True):
        ours, theirs = (
            vtr.search(QUERY, store, moments=moments, top_k=24) for store in (imported, demo / "store")
        )
        assert len(ours.hits) == len(theirs.hits) > 0
        for one, other in zip(ours.hits, theirs.hits, strict=True):
            assert (one.video_id, one.moments) == (other.video_id, other.moments)
            assert (one.path, one.twins, one.is_missing, one.can_be_opened) == ("", (), False, False)
            assert one.score == pytest.approx(other.score, abs=1e-6)
    assert not any("missing" in note for note in ours.notes)


def test_videos_without_a_file_are_nobodys_twins(imported: Path, own: Path) -> None:
    catalog = Searcher(imported, device="cpu").catalog
    assert [catalog.twins(video) for video in range(24)] == [[video] for video in range(24)]
    both = StoresSearcher([imported, own], device="cpu").search(QUERY)
    assert len(both.hits) == 10 and {hit.store for hit in both.hits} == {str(imported), str(own)}


def test_one_without_a_file_does_not_hide_one_with_a_file(demo: Path, imported: Path) -> None:
    both = StoresSearcher([imported, demo / "store"], device="cpu").search(QUERY)
    assert {hit.store for hit in both.hits} == {str(imported), str(demo / "store")}


def test_filters_take_what_is_known(imported: Path) -> None:
    def num(**filters: object) -> int:
        return vtr.search(QUERY, imported, filters=Filters(**filters), top_k=24).num_videos  # type: ignore[arg-type]

    name = next(iter(FeatureStore(imported).videos))
    assert num(paths=(name,)) == 1 and num(paths=("*",)) == 24
    assert num(min_duration_seconds=0.1) == 24  # the archive says how long they are
    # No size and no date: in no bounds.
    assert num(min_bytes=0) == num(max_bytes=10**12) == num(max_changed_at=4e9) == 0


def test_like_finds_by_id_and_needs_no_tower(imported: Path) -> None:
    name = next(iter(FeatureStore(imported).videos))
    result = vtr.search(Query(like=(f"{name}@0:01",)), imported)
    assert result.num_videos == 23 and len(result.hits) == 10
    with pytest.raises(InputError, match="no video ''"):
        vtr.search(Query(like=("",)), imported)


@pytest.mark.slow
def test_the_command_shows_ids_and_cuts_draws_and_opens_nothing(imported: Path, tmp_path: Path) -> None:
    at = ("--store", str(imported), "-k", "3", "--run", "none")
    shown = run("search", QUERY, *at).stdout
    assert len(shown.splitlines()) == 3 and "missing" not in shown and "." in shown
    ids = list(FeatureStore(imported).videos)
    assert all(
        any(line.rstrip().split("  also ")[0].endswith(name) for name in ids) for line in shown.splitlines()
    )
    body = run_json("search", QUERY, *at)
    assert [(row["path"], row["missing"]) for row in body["results"]] == [(None, False)] * 3
    assert run("search", QUERY, *at, "--paths").stdout == ""
    result = run("search", QUERY, *at, "--clips", str(tmp_path / "clips"))
    assert (
        result.exit_code == 5
        and result.stderr.count("not-found: its features were imported, no file is known") == 3
    )
    assert "note: there is nothing to open" in run("search", QUERY, *at, "--open").stderr
    result = run("search", QUERY, *at, "--csv", str(tmp_path / "markers.csv"))
    assert result.exit_code == 5 and result.stderr.count("no file is known") == 3, result.stderr
    assert "failed: : " not in result.stderr
    page = tmp_path / "found.html"
    assert run("search", QUERY, *at, "--gallery", str(page)).exit_code == 0
    text = page.read_text()
    assert (
        text.count("imported, no file") == 3
        and 'href="file' not in text
        and "missing" not in text.split("</style>")[1]
    )


def test_care_for_the_store_leaves_them_alone(own: Path, tmp_path: Path) -> None:
    before = {name: FeatureStore(own).features(name).tobytes() for name in FeatureStore(own).videos}
    assert verify(own).all_problems == ()
    assert prune(own, missing=True).videos == [] and prune(own, under=["/"]).videos == []
    held = contents(FeatureStore(own))
    assert (held.num_missing, held.num_without_file) == (0, 24)
    with pytest.raises(InputError, match="no video of .* is below"):
        relocate(own, "/", tmp_path)
    name = next(iter(before))
    assert [record.video_id for record in prune(own, names=[name]).videos] == [name]
    assert compact(own).num_dropped == 1
    del before[name]
    assert {name: FeatureStore(own).features(name).tobytes() for name in FeatureStore(own).videos} == before


def test_info_says_where_it_is_from(imported: Path) -> None:
    body = run_json("store", "info", "--store", str(imported))
    assert body["source"] == {"kind": "imported", "dtype": "float16", "unit_length": False}
    assert (body["num_without_file"], body["num_missing"], body["roots"]) == (24, 0, [])
    shown = run("store", "info", "--store", str(imported)).stdout
    assert "imported (float16); 24 videos without a file" in shown


def test_a_run_of_extracted_features_ranks_imported_ones_of_the_same_backbone(
    demo: Path, imported: Path
) -> None:
    (trained,) = (demo / "runs").iterdir()
    how = {"run": trained, "dataset": "csv", "annotations": demo, "dsl": True}
    ours, theirs = (vtr.evaluate(store=store, **how) for store in (imported, demo / "store"))  # type: ignore[arg-type]
    assert ours.table() == theirs.table()
    hits = [vtr.search(QUERY, store, run=trained).hits for store in (imported, demo / "store")]
    assert [hit.video_id for hit in hits[0]] == [hit.video_id for hit in hits[1]]


def test_a_file_takes_over_the_id_that_it_has_in_the_archive(own: Path, demo: Path) -> None:
    """Extraction goes on where the archive says how its frames were chosen and prepared."""
    result = vtr.extract(demo / "videos", own, device="cpu")
    assert (result.num_extracted, result.num_skipped, result.failures) == (24, 0, [])
    store = FeatureStore(own)
    assert len(store.videos) == 24 and all(at.record.has_file for at in store.videos.values())
    again = vtr.extract(demo / "videos", own, device="cpu")
    assert (again.num_extracted, again.num_skipped) == (0, 24)


def test_a_store_that_only_a_name_is_known_of_says_what_a_text_query_needs(
    imported: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    np.save(tmp_path / "f/a.npy", np.ones((2, 8), np.float32))
    np.save(tmp_path / "f/b.npy", np.eye(2, 8, dtype=np.float32))
    import_features(tmp_path / "f", tmp_path / "s", fps=1, backbone="my-tower")
    result = run("search", QUERY, "--store", str(tmp_path / "s"))
    assert result.exit_code == 4 and "ask with --like VIDEO" in result.stderr
    assert [
        row["video_id"]
        for row in run_json("search", "--like", "a", "--store", str(tmp_path / "s"))["results"]
    ] == ["b"]
    with pytest.raises(StoreError, match="stores of one backbone"):
        StoresSearcher([imported, tmp_path / "s"])


@pytest.mark.slow
def test_milvus_shows_them_as_well(imported: Path, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    uri = str(tmp_path / "m.db")
    assert run("milvus", "push", "--store", str(imported), "--milvus", uri).exit_code == 0
    body = run_json("search", QUERY, "--milvus", uri, "-k", "3")
    assert len(body["results"]) == 3
    assert [(row["path"], row["missing"]) for row in body["results"]] == [(None, False)] * 3
    assert json.dumps(body)


def test_a_video_file_with_another_content_is_no_twin_of_them(own: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "new.mp4", seconds=1.0)
    assert vtr.extract(tmp_path / "videos", own, device="cpu").num_extracted == 1
    assert len(FeatureStore(own).videos) == 25
