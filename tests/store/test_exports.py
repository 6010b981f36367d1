"""What is exported is what the store has, as other programs read it; coming back it is the same, bit for bit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.stores import SHA256, make_config, make_record, make_store
from vtrcli.errors import InputError, UsageError
from vtrcli.extraction.imports import import_features
from vtrcli.store.config import create_config, read_config
from vtrcli.store.exports import export_features, safe_name
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter

RNG = np.random.default_rng(5)
VIDEOS = {"RoripwjYFp8_360.0_510.0": RNG.normal(size=(5, 4)), "kitchen/pasta": RNG.normal(size=(3, 4))}


def need_parquet() -> Any:
    return pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", VIDEOS)


def test_npz_is_what_moment_detr_reads(store: Path, tmp_path: Path) -> None:
    done = export_features(store, tmp_path / "out", layout="npz")
    assert (done.num_videos, done.num_frames, done.dim) == (2, 8, 4)
    for video_id in VIDEOS:
        # As its StartEndDataset opens a video.
        features = np.load(tmp_path / "out" / f"{video_id}.npz")["features"].astype(np.float32)
        assert np.array_equal(features, FeatureStore(store).features(video_id))


def test_npy_is_one_matrix_and_a_row_of_the_table_for_each_of_its_rows(store: Path, tmp_path: Path) -> None:
    export_features(store, tmp_path / "out", layout="npy", dtype="float32")
    matrix = np.load(tmp_path / "out/features.npy")
    rows = list(csv.DictReader((tmp_path / "out/rows.csv").read_text().splitlines()))
    assert matrix.dtype == np.float32 and len(matrix) == len(rows) == 8
    for video_id in VIDEOS:
        mine = [number for number, row in enumerate(rows) if row["video_id"] == video_id]
        assert np.array_equal(matrix[mine], FeatureStore(store).features(video_id))
        assert [float(rows[number]["seconds"]) for number in mine] == [n + 0.5 for n in range(len(mine))]


def test_parquet_has_an_embedding_per_row(store: Path, tmp_path: Path) -> None:
    parquet = need_parquet()
    export_features(store, tmp_path / "out", layout="parquet")
    table = parquet.read_table(tmp_path / "out/features.parquet").to_pydict()
    assert table["video_id"] == ["RoripwjYFp8_360.0_510.0"] * 5 + ["kitchen/pasta"] * 3
    there = [FeatureStore(store).features(video_id) for video_id in VIDEOS]
    assert np.array_equal(np.array(table["embedding"], np.float16), np.concatenate(there))


def test_names_and_videos_can_be_chosen(store: Path, tmp_path: Path) -> None:
    export_features(store, tmp_path / "out", layout="npz", names={"kitchen/pasta": "video7010"})
    assert [path.name for path in (tmp_path / "out").glob("*.npz")] == ["video7010.npz"]
    with pytest.raises(InputError, match="nothing to export"):
        export_features(store, tmp_path / "none", layout="npz", names={})
    assert not (tmp_path / "none").exists()


def test_a_rate_takes_the_frame_nearest_to_each_time(tmp_path: Path) -> None:
    create_config(tmp_path / "store", make_config())
    writer = StoreWriter(tmp_path / "store", backbone_sha256=SHA256)
    times = np.array([0.0, 0.5, 2.1, 2.9, 6.0])
    writer.add(make_record("a", duration_seconds=9.0), np.eye(5, 4) + 1, times)
    writer.flush()
    done = export_features(tmp_path / "store", tmp_path / "out", layout="npz", fps=0.5)
    with np.load(tmp_path / "out/a.npz") as file:
        assert file["timestamps"].tolist() == [0, 2, 4, 6, 8]
        assert np.array_equal(file["features"], (np.eye(5, 4) + 1)[[0, 2, 3, 4, 4]])
    assert done.num_repeated == 1
    for fps in (0.0, float("nan"), -1.0):
        with pytest.raises(UsageError, match="fps is"):
            export_features(tmp_path / "store", tmp_path / "bad", layout="npz", fps=fps)


def test_unit_rows_have_length_one(store: Path, tmp_path: Path) -> None:
    export_features(store, tmp_path / "out", layout="npy", is_unit=True, dtype="float32")
    assert np.allclose(np.linalg.norm(np.load(tmp_path / "out/features.npy"), axis=1), 1)


def test_what_is_there_is_never_overwritten_and_a_failure_leaves_nothing(store: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        export_features(store, tmp_path / "out", layout="npz")
    assert str(caught.value) == (
        f"{tmp_path / 'out'} is there already; a new folder; nothing is overwritten; "
        "choose another name, or move it away"
    )

    def stop(num_done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        export_features(store, tmp_path / "half", layout="npy", on_progress=stop)
    assert sorted(tmp_path.iterdir()) == before


def test_paths_of_this_machine_stay_here(store: Path, tmp_path: Path) -> None:
    export_features(store, tmp_path / "out", layout="npz")
    for name in ("export.json", "videos.jsonl"):
        assert "/videos/" not in (tmp_path / "out" / name).read_text()


NAMES = st.text(st.characters(codec=None, categories=None), min_size=1, max_size=12) | st.sampled_from(
    [
        "..",
        ".",
        "/",
        "a/../b",
        "/etc/x",
        "a.npz/b",
        "A",
        "a",
        "con",
        "%41",
        "x" * 300,
        "a\udcff",
        "a\\udcff",
        "\0",
        "-rf",
        "ä",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=6, unique=True))
def test_every_id_has_a_file_of_its_own_inside_the_folder(ids: list[str]) -> None:
    taken: set[str] = set()
    names = [safe_name(video_id, taken) for video_id in ids]
    assert len({name.lower() for name in names}) == len(ids)
    folders = {
        "/".join(name.split("/")[:end]).lower() for name in names for end in range(1, name.count("/") + 1)
    }
    for name in names:
        parts = name.split("/")
        assert not {"", ".", ".."} & set(parts) and not any(part.startswith(".") for part in parts)
        assert all(len(part.encode()) <= 240 for part in parts)
        assert f"{name}.npz".lower() not in folders


@pytest.mark.parametrize("layout", ["npz", "npy", "parquet"])
@settings(max_examples=5, deadline=None)
@given(
    ids=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    dtype=st.sampled_from(["float16", "float32"]),
    seed=st.integers(0, 2**32),
)
def test_export_and_import_give_the_same_features_bit_for_bit(
    layout: str, ids: list[str], dtype: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if layout == "parquet":
        need_parquet()
    folder = tmp_path_factory.mktemp("round")
    create_config(folder / "store", make_config(dim=3))
    writer = StoreWriter(folder / "store", backbone_sha256=SHA256)
    rng = np.random.default_rng(seed)
    for number, video_id in enumerate(ids):
        # Any bits that a number can have: the smallest and largest, minus zero.
        features = rng.integers(0, 2**16, (rng.integers(1, 5), 3), np.uint16).view(np.float16)
        features[~np.isfinite(features)] = -0.0
        features[0, 0] = 1  # a video of zeros alone is refused
        times = np.sort(rng.exponential(100, len(features)).astype(np.float32))
        writer.add(make_record(video_id, duration_seconds=None, width=number), features, times)
    writer.flush()
    export_features(folder / "store", folder / "out", layout=layout, dtype=dtype)  # type: ignore[arg-type]
    result = import_features(folder / "out", folder / "back")
    assert (result.num_imported, result.failures) == (len(ids), [])
    ours, theirs = FeatureStore(folder / "store"), FeatureStore(folder / "back")
    assert set(theirs.videos) == set(ids) and theirs.config.backbone == ours.config.backbone
    for video_id in ids:
        assert theirs.features(video_id).tobytes() == ours.features(video_id).tobytes()
        assert theirs.timestamps(video_id).tobytes() == ours.timestamps(video_id).tobytes()
        assert theirs.videos[video_id].record.width == ours.videos[video_id].record.width


def test_an_exported_archive_says_what_made_it(store: Path, tmp_path: Path) -> None:
    export_features(store, tmp_path / "out", layout="npz")
    import_features(tmp_path / "out", tmp_path / "back")
    back, config = read_config(tmp_path / "back"), read_config(store)
    assert (back.backbone, back.sampling, back.preprocessing) == (
        config.backbone,
        config.sampling,
        config.preprocessing,
    )
    assert back.source is not None and back.source["kind"] == "imported"
    with pytest.raises(UsageError, match="--backbone other for features of tiny"):
        import_features(tmp_path / "out", tmp_path / "back", backbone="other")
    (tmp_path / "out/export.json").write_text(json.dumps({"format": "vtr-export", "version": 2}))
    with pytest.raises(InputError, match="has version 2; this vtr reads archives up to version 1"):
        import_features(tmp_path / "out", tmp_path / "back")
