"""Pruning takes out what it says and nothing else; of a folder that is not there nothing, unless it is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import SHA256, make_config, make_record
from vtrcli.errors import InputError, UsageError
from vtrcli.store.config import create_config
from vtrcli.store.failures import FAILURES_NAME, append_failure, make_failure, read_failures
from vtrcli.store.prune import prune
from vtrcli.store.reader import FeatureStore
from vtrcli.store.roots import Root, add_roots
from vtrcli.store.writer import StoreWriter

NAMES = ("a", "b", "sub/c")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return fill(tmp_path / "store", tmp_path / "videos")


def fill(
    store: Path, folder: Path, *, prefix: str = "", is_mount: bool = False, with_root: bool = True
) -> Path:
    create_config(store, make_config())
    root = Root(name=folder.name, folder=str(folder), is_mount=is_mount)
    if with_root:
        add_roots(store, [root])
    writer = StoreWriter(store, backbone_sha256=SHA256)
    for number, name in enumerate(NAMES):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
        where = {"root": root.name, "relative_path": f"{name}.mp4"} if with_root else {}
        record = make_record(prefix + name, path=str(path), **where)
        writer.add(record, np.full((1, 4), number + 1.0), np.zeros(1))
    writer.flush()
    return folder


def left(store: Path) -> list[str]:
    return list(FeatureStore(store).videos)


def test_missing_takes_what_is_gone_and_a_dry_run_nothing(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (videos / "b.mp4").unlink()
    before = sorted(store.rglob("*"))
    assert [record.video_id for record in prune(store, missing=True, dry_run=True).videos] == ["b"]
    assert (sorted(store.rglob("*")), left(store)) == (before, ["a", "b", "sub/c"])
    assert [record.video_id for record in prune(store, missing=True).videos] == ["b"]
    assert left(store) == ["a", "sub/c"]
    shutil.rmtree(videos / "sub")
    (videos / "a.mp4").unlink()  # the root is there, and empty
    assert len(prune(store, missing=True).videos) == 2


@pytest.mark.parametrize("with_root", [True, False])
def test_a_root_that_is_not_there_is_pruned_only_when_it_is_named(tmp_path: Path, with_root: bool) -> None:
    store = tmp_path / "store"
    videos = fill(store, tmp_path / "disk" / "videos", with_root=with_root)
    fill(store, tmp_path / "others", prefix="o/", with_root=with_root)
    shutil.rmtree(videos)
    (tmp_path / "others" / "a.mp4").unlink()
    done = prune(store, missing=True, under=[tmp_path])
    assert [record.video_id for record in done.videos] == ["o/a"]
    assert done.absent == {str(videos): 3}
    assert prune(store, missing=True, under=[videos], spare_absent=True).videos == []
    assert len(prune(store, missing=True, under=[videos]).videos) == 3
    assert left(store) == ["o/b", "o/sub/c"]


def test_a_mount_point_without_its_disk_is_not_there(tmp_path: Path) -> None:
    store = tmp_path / "store"
    videos = fill(store, tmp_path / "mnt", is_mount=True)
    shutil.rmtree(videos)
    videos.mkdir()
    done = prune(store, missing=True)
    assert (done.videos, done.absent) == ([], {str(videos): 3})
    assert len(prune(store, missing=True, under=["mnt"]).videos) == 3  # by the root's name


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_what_may_not_be_looked_at_is_not_gone(videos: Path, tmp_path: Path) -> None:
    (videos / "sub").chmod(0)
    try:
        assert prune(tmp_path / "store", missing=True).videos == []
    finally:
        (videos / "sub").chmod(0o755)


def test_under_takes_a_folder_and_the_failures_in_it(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in ("sub/broken.mp4", "broken.mp4"):
        (videos / name).write_bytes(b"")
        append_failure(store, make_failure(videos / name, "corrupt", "", state=None))
    (tmp_path / "videos" / "sub2").mkdir()
    assert [record.video_id for record in prune(store, under=[videos / "sub"]).videos] == ["sub/c"]
    assert list(read_failures(store, [])) == [str(videos / "broken.mp4")]


def test_ids_and_paths_are_taken_and_unknown_ones_named(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(InputError) as caught:
        prune(store, names=["a", "nobody"])
    assert str(caught.value) == (
        f"'nobody' is no video of {store}; ids as `vtr search --json` prints them, or paths of files; "
        "check the name; --under takes a whole folder"
    )
    assert left(store) == ["a", "b", "sub/c"]
    prune(store, names=["a", str(videos / "sub" / "c.mp4")])
    assert left(store) == ["b"]


def test_nothing_given_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        prune(tmp_path / "store")
    assert str(caught.value) == (
        "nothing says which videos are to be pruned; --missing, --under FOLDER, or video ids; "
        "try `vtr store prune --missing --dry-run`"
    )


def test_lines_of_files_that_are_gone_leave_the_list_of_failures(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for number in range(3):
        (videos / f"bad{number}.mp4").write_bytes(b"")
        append_failure(store, make_failure(videos / f"bad{number}.mp4", "corrupt", "", state=None))
    append_failure(store, make_failure(tmp_path / "away" / "bad.mp4", "corrupt", "", state=None))
    add_roots(store, [Root(name="away", folder=str(tmp_path / "away"))])  # not mounted: its failure stands
    (videos / "bad0.mp4").unlink()
    (videos / "bad1.mp4").unlink()
    standing = [str(tmp_path / "away" / "bad.mp4"), str(videos / "bad2.mp4")]
    assert list(read_failures(store, [])) == standing
    (videos / "bad2.mp4").unlink()
    prune(store, missing=True)
    assert (store / FAILURES_NAME).read_text().count("\n") == 1
    assert list(read_failures(store, [])) == standing[:1]
