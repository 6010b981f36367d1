"""A folder that moved: one line where a root moved, new rows for a folder inside one; whatever is not found is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.store.test_prune import fill
from vtrcli.errors import InputError
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.reader import FeatureStore
from vtrcli.store.relocate import relocate
from vtrcli.store.roots import ROOTS_NAME, Root, add_roots, move_roots, read_roots


def paths(store: Path) -> dict[str, str]:
    return FeatureStore(store).paths


def features(store: Path) -> dict[str, bytes]:
    opened = FeatureStore(store)
    return {name: opened.features(name).tobytes() for name in opened.videos}


@pytest.mark.parametrize("with_root", [True, False])
def test_a_root_moves_by_one_line_back_and_forth(tmp_path: Path, with_root: bool) -> None:
    store, old, new = tmp_path / "store", tmp_path / "old", tmp_path / "new"
    fill(store, old, with_root=with_root)
    open_catalog(store)
    before, shards = features(store), sorted((store / "shards").iterdir())
    old.rename(new)
    assert relocate(store, str(old), new, dry_run=True).num_found == 3
    assert paths(store)["a"] == str(old / "a.mp4")
    done = relocate(store, str(old), new)
    assert (done.num_videos, done.num_found, done.num_merged) == (3, 3, 0)
    assert paths(store) == {name: str(new / f"{name}.mp4") for name in ("a", "b", "sub/c")}
    catalog = open_catalog(store)
    assert dict(zip(catalog.ids.all(), catalog.paths.all(), strict=True)) == paths(store)
    (name,) = read_roots(store).by_name
    new.rename(old)
    relocate(store, name, old)
    assert paths(store)["sub/c"] == str(old / "sub" / "c.mp4")
    assert (features(store), sorted((store / "shards").iterdir())) == (before, shards)


def test_all_roots_below_a_mount_point_move(tmp_path: Path) -> None:
    store, old, new = tmp_path / "store", tmp_path / "disk1", tmp_path / "disk2"
    fill(store, old / "x")
    fill(store, old / "y", prefix="y/")
    old.rename(new)
    assert relocate(store, str(old), new).num_videos == 6
    assert paths(store)["a"] == str(new / "x" / "a.mp4")
    assert paths(store)["y/sub/c"] == str(new / "y" / "sub" / "c.mp4")


def test_a_folder_inside_a_root_gets_rows_of_its_own(tmp_path: Path) -> None:
    store, old, new = tmp_path / "store", tmp_path / "videos", tmp_path / "archive"
    fill(store, old)
    before = features(store)
    (old / "sub").rename(new)
    relocate(store, str(old / "sub"), new)
    assert paths(store) == {"a": f"{old}/a.mp4", "b": f"{old}/b.mp4", "sub/c": f"{new}/c.mp4"}
    record = FeatureStore(store).videos["sub/c"].record
    assert (record.root, record.relative_path) == ("archive", "c.mp4")
    assert features(store) == before


def test_what_was_extracted_at_the_new_place_too_is_merged(tmp_path: Path) -> None:
    store, old, new = tmp_path / "store", tmp_path / "old", tmp_path / "new"
    fill(store, old)
    fill(store, new, prefix="n/")
    shutil.rmtree(old)
    assert relocate(store, str(old), new).num_merged == 3
    assert sorted(paths(store)) == ["n/a", "n/b", "n/sub/c"]


def test_wrong_folders_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    store, old = tmp_path / "store", fill(tmp_path / "store", tmp_path / "old")
    (tmp_path / "empty").mkdir()
    lines = (store / ROOTS_NAME).read_bytes()
    for given, target, message in (
        (
            "/nowhere",
            tmp_path,
            f"no video of {store} is below /nowhere; a folder that videos were extracted from: {old}; "
            "check the path, or extract the folder where the videos are now",
        ),
        (
            str(old),
            tmp_path / "none",
            f"{tmp_path}/none is not a folder; the folder where the videos are now; "
            "check the path, or mount its disk",
        ),
        (
            str(old),
            tmp_path / "empty",
            f"none of the 3 videos of {old} is in {tmp_path}/empty; the folder that holds them by the same names; "
            "check the path; `vtr extract FOLDER` also finds files that were renamed",
        ),
    ):
        with pytest.raises(InputError) as caught:
            relocate(store, given, target)
        assert str(caught.value) == message
    assert (store / ROOTS_NAME).read_bytes() == lines


def test_two_processes_that_choose_one_name_get_two(tmp_path: Path) -> None:
    assert add_roots(tmp_path, [Root(name="v", folder="/x/v")]) == {"v": "v"}
    assert add_roots(tmp_path, [Root(name="v", folder="/y/v")]) == {"v": "v-2"}
    assert add_roots(tmp_path, [Root(name="v", folder="/x/v")]) == {"v": "v"}
    move_roots(tmp_path, [Root(name="v", folder="/z")])
    with open(tmp_path / ROOTS_NAME, "a") as file:  # a line that came too late, and one that a kill tore
        file.write('\n{"name": "v", "folder": "/late"}\n{"name": "v", "fol')
    roots = read_roots(tmp_path).by_name
    assert {name: (root.origin, root.folder) for name, root in roots.items()} == {
        "v": ("/x/v", "/z"),
        "v-2": ("/y/v", "/y/v"),
    }


@pytest.mark.parametrize(
    "line", ["7", "[" * 100_000, '{"name": 1, "folder": "/x"}', '{"name": "v", "folder": ""}']
)
def test_a_line_of_another_kind_is_passed_over(tmp_path: Path, line: str) -> None:
    (tmp_path / ROOTS_NAME).write_text(line)
    assert read_roots(tmp_path).by_name == {}
