"""A store on FAT, exFAT, CIFS, FUSE and shared folders of virtual machines; with few descriptors; with many shards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import SHA256, make_record, make_store
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.reader import FeatureStore, shard_paths
from vtrcli.store.writer import StoreWriter

SHIM = Path(__file__).with_name("file_system_shim.c")
# A store's life, and what it must be at the end.
LIFE = """
import sys
from pathlib import Path
import numpy as np
from tests.store.stores import SHA256, make_record, make_store
from vtrcli.errors import VtrError
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.derived import TableSpec, derived_tables
from vtrcli.searching.scores import products
from vtrcli.store.compact import compact
from vtrcli.store.failures import append_failure, make_failure
from vtrcli.store.frames import FrameJpegs
from vtrcli.store.reader import FeatureStore
from vtrcli.store.texts import TextCache, TextRows, write_texts
from vtrcli.store.verify import verify
from vtrcli.store.writer import StoreWriter, remove_videos

def add(store, names, value):
    writer = StoreWriter(store, backbone_sha256=SHA256)
    for name in names:
        writer.add(make_record(name), np.full((2, 4), value), np.arange(2.0), jpegs=FrameJpegs((b"1", b"2")))
    writer.flush()

def search(store):
    catalog = open_catalog(store)
    spec = TableSpec(name="copies", tensors={"rows": ("F16", 4)}, version=1)
    tables = derived_tables(catalog, spec, lambda shard: {"rows": shard.features[:][::2]})
    query = np.array([1.0, 0, 0, 0])
    found = products(catalog.blocks, query)
    assert (found[::2] == products([table["rows"] for table in tables], query)).all()
    return sorted(zip(catalog.ids.all(), found[catalog["start"]].tolist()))

try:
    store = make_store(Path(sys.argv[1]), {})
    add(store, "abc", 1)
    append_failure(store, make_failure(Path("/x.mp4"), "corrupt", "x", state=None))
    assert search(store) == [("a", 1), ("b", 1), ("c", 1)]
    add(store, "b", 2)
    remove_videos(store, "a")
    rows = TextRows(np.ones((1, 1, 4)), np.ones((1, 1), bool))
    write_texts(store, ["hello"], rows, streams=["fusion"], tagger_id="t", backbone_sha256=SHA256)
    cache = TextCache(store, streams=["fusion"], tagger_id="t", backbone_sha256=SHA256)
    assert cache.rows(["hello"]).features.tolist() == [[[1.0] * 4]]
    for _ in range(2):
        assert search(store) == [("b", 2), ("c", 1)]
        assert verify(store).all_problems == ()
        compact(store)
    assert len(FeatureStore(store).shards) == 1
    assert "/x.mp4" in (store / "failures.jsonl").read_text()
except VtrError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler, or no Linux: file systems that refuse things are not tried")
    path = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, SHIM, "-ldl"], check=True)
    return path


def live(shim: Path, folder: Path, refused: str) -> subprocess.CompletedProcess[str]:
    store = folder / "shim-here" / "store"
    return subprocess.run(
        [sys.executable, "-c", LIFE, str(store)],
        env={**os.environ, "LD_PRELOAD": str(shim), "SHIM": refused},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "refused",
    [
        "nochmod,dirfsync,flock,nolink,nommap",  # a shared folder of a virtual machine, about
        pytest.param("nochmod", marks=pytest.mark.slow),
        pytest.param("dirfsync", marks=pytest.mark.slow),
        pytest.param("allfsync", marks=pytest.mark.slow),
        pytest.param("nommap", marks=pytest.mark.slow),
        pytest.param("flock", marks=pytest.mark.slow),
        pytest.param("nolink", marks=pytest.mark.slow),
        "renameover,nolink",
    ],
)
def test_a_store_lives_where_this_is_refused(shim: Path, tmp_path: Path, refused: str) -> None:
    done = live(shim, tmp_path, refused)
    assert (done.returncode, done.stderr) == (0, "")


def test_where_nothing_can_be_renamed_one_line_says_so(shim: Path, tmp_path: Path) -> None:
    done = live(shim, tmp_path, "norename")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "cannot write" in done.stderr and "Function not implemented" in done.stderr


def test_a_folder_of_shards_that_git_dropped_is_made_again(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", {})
    (store / "shards").rmdir()
    assert FeatureStore(store).videos == {} and open_catalog(store).num_videos == 0
    make_store(store, {"a": np.ones((1, 4))})
    assert list(FeatureStore(store).videos) == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of this kind")
@pytest.mark.parametrize("limit", [64, pytest.param(32, marks=pytest.mark.slow)])
def test_many_shards_and_few_descriptors(tmp_path: Path, limit: int) -> None:
    """Far more shards than descriptors, none of which may be had by raising the limit."""
    store = make_store(tmp_path / "store", {})
    for number in range(150):
        writer = StoreWriter(store, backbone_sha256=SHA256)
        writer.add(make_record(f"v{number:03}"), np.full((1, 4), number), np.zeros(1))
        writer.flush()
    script = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
from pathlib import Path
import numpy as np
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.derived import TableSpec, derived_tables
from vtrcli.searching.scores import products
from vtrcli.store.compact import compact
from vtrcli.store.reader import FeatureStore
from vtrcli.store.verify import verify
store = Path(sys.argv[1])
opened, catalog = FeatureStore(store), open_catalog(store)
values = [opened.features(name)[0, 0] for name in opened.videos]
assert values == list(range(150))
spec = TableSpec(name="copies", tensors={{"rows": ("F16", 4)}}, version=1)
tables = derived_tables(catalog, spec, lambda shard: {{"rows": shard.features[:]}})
assert products(catalog.blocks, np.array([1.0, 0, 0, 0])).tolist() == values
assert [float(np.asarray(table["rows"])[0, 0]) for table in tables] == values
assert verify(store).all_problems == ()
compact(store)
assert len(FeatureStore(store).shards) == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(store)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(shard_paths(store)) == 1
