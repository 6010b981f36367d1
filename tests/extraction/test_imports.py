"""Others' features become a store; what they do not tell stays empty, and a bad video costs that video alone."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import random
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from tests.store.stores import make_store
from vtrcli import api
from vtrcli.errors import InputError, StoreError, UsageError, WeightsError
from vtrcli.extraction.imports import import_features, read_durations
from vtrcli.model.families import backbone_info, open_tower
from vtrcli.store.archives import open_archive
from vtrcli.store.arrays import BadArrayError, read_arrays
from vtrcli.store.config import read_config
from vtrcli.store.exports import export_features
from vtrcli.store.failures import read_failures
from vtrcli.store.reader import FeatureStore

ROWS = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
HALVES = ROWS.astype(np.float16)
HOW = {"fps": 0.5, "backbone": "my-tower"}


def need_parquet() -> Any:
    return pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One video in each kind of file."""
    folder = tmp_path / "feats"
    (folder / "sub").mkdir(parents=True)
    np.savez(folder / "a.npz", features=ROWS)
    np.savez_compressed(folder / "sub" / "b.npz", features=ROWS)
    np.save(folder / "c.npy", np.asfortranarray(ROWS))
    torch.save(torch.from_numpy(ROWS), folder / "d.pt")
    torch.save({"features": torch.from_numpy(ROWS).bfloat16(), "fps": 0.5}, folder / "e.pth")
    safetensors.numpy.save_file({"x": ROWS.astype(np.float64)}, folder / "f.safetensors")
    return folder


def reasons(store: Path) -> dict[str, tuple[str, str]]:
    found = read_failures(store, []).values()
    return {Path(failure.path).name: (failure.reason, failure.detail) for failure in found}


def test_a_file_per_video_of_every_kind(folder: Path, tmp_path: Path) -> None:
    result = import_features(folder, tmp_path / "s", **HOW)
    store = FeatureStore(tmp_path / "s")
    assert list(store.videos) == ["a", "c", "d", "e", "f", "sub/b"]
    assert (result.num_imported, result.num_frames, result.failures) == (6, 36, [])
    for video_id in store.videos:
        wanted = torch.from_numpy(ROWS).bfloat16().to(torch.float16).numpy() if video_id == "e" else HALVES
        assert np.array_equal(store.features(video_id), wanted), video_id
        assert store.timestamps(video_id).tolist() == [0, 2, 4, 6, 8, 10]


def test_what_is_not_known_is_empty(folder: Path, tmp_path: Path) -> None:
    import_features(folder, tmp_path / "s", **HOW)
    record, config = FeatureStore(tmp_path / "s").videos["a"].record, read_config(tmp_path / "s")
    assert (record.path, record.fingerprint, record.codec, record.content) == ("", "", "", None)
    assert (record.num_bytes, record.mtime_ns, record.width, record.height) == (0, 0, 0, 0)
    assert record.duration_seconds is None and record.root is None
    assert config.preprocessing == {}
    assert config.source == {"kind": "imported", "dtype": "float32", "unit_length": False}


def test_run_again_it_does_what_is_new_or_changed(folder: Path, tmp_path: Path) -> None:
    import_features(folder, tmp_path / "s", **HOW)
    np.save(folder / "c.npy", ROWS + 1)
    np.save(folder / "new.npy", ROWS)
    result = import_features(folder, tmp_path / "s", **HOW)
    assert (result.num_imported, result.num_skipped) == (2, 5)
    assert np.array_equal(FeatureStore(tmp_path / "s").features("c"), (ROWS + 1).astype(np.float16))


def test_a_bad_video_is_a_failure_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    bad = ROWS.copy()
    bad[2, 3] = np.nan
    np.save(folder / "nan.npy", bad)
    np.save(folder / "large.npy", ROWS * 1e6)
    np.save(folder / "wide.npy", np.ones((6, 9), np.float32))
    np.save(folder / "deep.npy", np.ones((1, 6, 8), np.float32))
    np.save(folder / "empty.npy", np.ones((0, 8), np.float32))
    np.save(folder / "whole.npy", np.ones((6, 8), np.int64))
    np.save(folder / "padding.npy", np.zeros((6, 8), np.float32))
    (folder / "cut.npy").write_bytes((folder / "c.npy").read_bytes()[:-8])
    np.savez(folder / "others.npz", x=ROWS, y=ROWS)
    np.savez(folder / "late.npz", features=ROWS, timestamps=np.arange(5))
    (folder / "page.pt").write_text("<html>")
    result = import_features(folder, tmp_path / "s", **HOW)
    assert (result.num_imported, len(result.failures)) == (6, 11)
    found = reasons(tmp_path / "s")
    assert found["nan.npy"] == ("not-finite", "NaN or infinity in its features")
    assert found["large.npy"] == ("not-finite", "a number is beyond float16, which ends at 65,504")
    assert found["wide.npy"] == ("wrong-shape", "its rows have 9 numbers, the store's 8")
    assert found["deep.npy"] == ("wrong-shape", "its shape is [1, 6, 8], not [num_frames, dim]")
    assert found["empty.npy"] == ("wrong-shape", "its shape is [0, 8], not [num_frames, dim]")
    assert found["whole.npy"] == ("wrong-shape", "it holds int64, not floating-point numbers")
    assert found["padding.npy"] == ("no-frames", "all its rows are zeros")
    assert found["others.npz"] == ("corrupt", "it holds 'x', 'y', and no 'features'")
    assert found["late.npz"] == ("wrong-shape", "6 rows and times of shape [5]")
    assert found["cut.npy"][0] == found["page.pt"][0] == "corrupt"
    np.save(folder / "nan.npy", ROWS)
    import_features(folder, tmp_path / "s", **HOW)
    assert "nan.npy" not in reasons(tmp_path / "s")  # mended: it is no failure any more


def test_fewer_and_more_rows_than_the_length_says_are_told(folder: Path, tmp_path: Path) -> None:
    lengths = {"a": 12, "c": 30, "d": 4, "f": 11}
    lines = [json.dumps({"qid": 1, "vid": name, "duration": value}) for name, value in lengths.items()]
    (tmp_path / "val.jsonl").write_text("\n".join(lines))
    result = import_features(folder, tmp_path / "s", durations=tmp_path / "val.jsonl", **HOW)
    assert result.notes[:2] == [
        "fewer rows than the length says: c (1 in all)",
        "more rows than the length says; is --fps right?: d (1 in all)",
    ]
    videos = FeatureStore(tmp_path / "s").videos
    assert videos["c"].record.warnings == ("6 rows end at 12.0 s of 30.0 s",)
    assert videos["d"].record.warnings == ("6 rows reach 10.0 s, beyond 4.0 s",)
    assert (videos["a"].record.warnings, videos["a"].record.duration_seconds) == ((), 12)
    assert videos["e"].record.duration_seconds is None


def test_lengths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "lengths.csv"
    table.write_text("video_id,duration\na,3\na,3.0\n")
    assert read_durations(table) == {"a": 3.0}
    for rows, words in (("a,3\na,4", "'a' lasts 3.0 s and 4.0 s"), ("a,nan", "line 2: 'a' lasts 'nan'")):
        table.write_text(f"video_id,duration\n{rows}\n")
        with pytest.raises(InputError, match=words):
            read_durations(table)


def test_a_matrix_with_a_table_of_ids_and_times(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", ROWS)
    table = tmp_path / "m.csv"
    table.write_text('video_id,seconds\r\nx,0\r\nx,0.4\r\n"y,1",1\r\n"y,1",2\r\n"y,1",3\r\nz,0\r\n')
    import_features(tmp_path / "m.npy", tmp_path / "s", table=table, backbone="my-tower")
    store = FeatureStore(tmp_path / "s")
    assert {name: at.num_frames for name, at in store.videos.items()} == {"x": 2, "y,1": 3, "z": 1}
    assert np.array_equal(store.features("y,1"), HALVES[2:5])
    assert store.timestamps("y,1").tolist() == [1, 2, 3] and store.config.sampling == {}
    for content, words in (
        ("video_id\n" + "x\n" * 5, "has the shape [6, 8], "),
        ("video_id\nx\nx\ny\ny\nx\nx\n", "the rows of 'x' stand in two places"),
        ("name\nx\n", "names no column video_id"),
        ("video_id,seconds\nx,soon\n", "row 1: could not convert"),
    ):
        table.write_text(content)
        with pytest.raises(InputError) as caught:
            import_features(tmp_path / "m.npy", tmp_path / "t", table=table, backbone="b", fps=1)
        assert words in str(caught.value)
    assert not (tmp_path / "t").exists()


def test_parquet_of_others_is_read_row_by_row(tmp_path: Path) -> None:
    parquet = need_parquet()
    import pyarrow

    columns = {"vid": ["x"] * 4 + ["y"] * 2, "embedding": list(ROWS), "time": [0.0, 1, 2, 3, 0, 1]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "f.parquet", row_group_size=3)
    import_features(tmp_path / "f.parquet", tmp_path / "s", backbone="b")
    store = FeatureStore(tmp_path / "s")
    assert np.array_equal(store.features("x"), HALVES[:4]) and store.timestamps("y").tolist() == [0, 1]
    parquet.write_table(pyarrow.table({"name": ["x"]}), tmp_path / "f.parquet")
    with pytest.raises(InputError, match="its columns are name; columns video_id, embedding"):
        import_features(tmp_path / "f.parquet", tmp_path / "t", backbone="b")


def test_what_is_missing_or_does_not_fit_is_told_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    for changes, error, words in (
        ({"fps": None}, UsageError, "feats does not say when its frames were shown"),
        ({"backbone": None}, UsageError, "feats does not say what made its features"),
        ({"fps": 0.0}, UsageError, "fps is 0.0"),
        ({"fps": float("nan")}, UsageError, "fps is nan"),
        (
            {"backbone": "ViT-B/32"},
            InputError,
            "features of 8 dimensions, said to be of ViT-B/32; ViT-B/32 makes",
        ),
        ({"backbone": "demo"}, InputError, "features of 8 dimensions, said to be of demo"),
        ({"fps": -1.0}, UsageError, "fps is -1.0"),
    ):
        with pytest.raises(error) as caught:
            import_features(folder, tmp_path / "s", **{**HOW, **changes})
        assert words in str(caught.value)
    (tmp_path / "none").mkdir()
    for path, words in (
        (tmp_path / "none", "holds no features"),
        (tmp_path / "no", "no such file or folder"),
    ):
        with pytest.raises(InputError, match=words):
            import_features(path, tmp_path / "s", **HOW)
    make_store(tmp_path / "extracted", {"v": np.ones((2, 8))}, dim=8)
    with pytest.raises(InputError, match="is a feature store; features that are no store yet"):
        import_features(tmp_path / "extracted", tmp_path / "s", **HOW)
    np.save(folder / "a.npy", ROWS)
    with pytest.raises(InputError, match=r"a.npy and .*a.npz are both features of 'a'"):
        import_features(folder, tmp_path / "s", **HOW)
    assert not (tmp_path / "s").exists()


def test_the_width_of_most_is_the_width_of_the_store(folder: Path, tmp_path: Path) -> None:
    np.save(folder / "0.npy", np.ones((6, 3), np.float32))
    result = import_features(folder, tmp_path / "s", **HOW)
    assert (result.backbone.dim, result.num_imported, len(result.failures)) == (8, 6, 1)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("/tmp/vtr-was-run", "w")


def test_nothing_in_a_file_is_run_and_what_it_claims_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([_Evil()], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", features=np.array([_Evil()], object))
    torch.save({"features": _Evil()}, tmp_path / "x.pt")
    (tmp_path / "y.pt").write_bytes(pickle.dumps(_Evil()))
    for name in ("x.npy", "x.npz", "x.pt", "y.pt"):
        with pytest.raises(BadArrayError, match="objects"):
            read_arrays(tmp_path / name, ["features"])
    # A header that claims a terabyte, of which 100 bytes are there.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**30, 256)}
    )
    path.write_bytes(header.getvalue() + bytes(100))
    with pytest.raises(BadArrayError, match="cannot be read"):
        read_arrays(path, ["features"])
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", header.getvalue() + bytes(100))
    with pytest.raises(BadArrayError, match="its header claims more than it holds"):
        read_arrays(tmp_path / "x.npz", ["features"])
    # Three gigabytes of zeros in three megabytes; only their number is written here.
    _claim(tmp_path / "x.npz", 3 << 30)
    with pytest.raises(BadArrayError, match="it would take 3,221,225,472 bytes"):
        read_arrays(tmp_path / "x.npz", ["features"])
    torch.save(torch.zeros(1).expand(2**30, 1), tmp_path / "x.pt")
    with pytest.raises(BadArrayError, match="it would take 4,294,967,296 bytes"):
        read_arrays(tmp_path / "x.pt", ["features"])


def _claim(path: Path, num_bytes: int) -> None:
    """A zip whose only member says that it unpacks to `num_bytes`."""
    packed = zlib.compressobj(wbits=-15)
    body = packed.compress(bytes(1000)) + packed.flush()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("features.npy", body)
        archive.infolist()[0].file_size = num_bytes
        archive.infolist()[0].compress_type = zipfile.ZIP_DEFLATED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.npz", "sub/b.npz", "c.npy", "d.pt", "e.pth", "f.safetensors", "old.pt"])
def test_a_damaged_file_is_an_error_of_its_own_whatever_was_damaged(folder: Path, name: str) -> None:
    torch.save(torch.from_numpy(ROWS), folder / "old.pt", _use_new_zipfile_serialization=False)
    body, rng = (folder / name).read_bytes(), random.Random(7)
    for number in range(200):
        changed = bytearray(body)
        for _ in range(rng.choice((1, 2, 5, 20))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path = folder / f"changed-{number}{Path(name).suffix}"  # a mapped file is not written again
        path.write_bytes(changed[: rng.randrange(len(changed))] if number % 5 == 0 else changed)
        with contextlib.suppress(BadArrayError):
            read_arrays(path, ["features"], optional=["timestamps"])


def test_links_to_folders_and_hidden_files_are_passed_over(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "elsewhere" / "z.npy", ROWS)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    np.save(folder / ".hidden.npy", ROWS)
    assert open_archive(folder).num_videos == 6


def test_a_backbone_at_hand_is_itself_and_any_other_is_known_by_name_alone(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    demo = backbone_info("demo")
    np.save(tmp_path / "f/a.npy", np.ones((2, demo.dim), np.float32))
    import_features(tmp_path / "f", tmp_path / "s", fps=1, backbone="demo")
    assert read_config(tmp_path / "s").backbone == demo
    import_features(tmp_path / "f", tmp_path / "t", fps=1, backbone="my-tower")
    made_by = read_config(tmp_path / "t").backbone
    assert made_by.is_claimed and (made_by.name, made_by.dim) == ("my-tower", demo.dim)
    with pytest.raises(WeightsError) as caught:
        open_tower(made_by, store=tmp_path / "t", tower="text", device="cpu")
    assert str(caught.value) == (
        f"store {tmp_path / 't'} holds imported features of 'my-tower', which vtr has no weights of; queries are "
        "encoded by the towers that belong to the features; --like needs none; ask with --like VIDEO, or import "
        "under a --backbone of `vtr models list`"
    )


def test_features_of_unknown_making_do_not_mix_with_extracted_ones(folder: Path, tmp_path: Path) -> None:
    extracted = make_store(tmp_path / "extracted", {"v": np.ones((2, 8))}, dim=8)
    with pytest.raises(
        StoreError, match="holds features that vtr extracted; how these were made is not known"
    ):
        import_features(folder, extracted, **HOW)
    import_features(folder, tmp_path / "s", **HOW)
    with pytest.raises(StoreError, match="holds imported features; how their frames were chosen"):
        api.extract(folder, tmp_path / "s")
    with pytest.raises(
        StoreError, match="has sampling mode rate, fps 0.5, min_frames 1, not mode rate, fps 2.0"
    ):
        import_features(folder, tmp_path / "s", fps=2.0, backbone="my-tower")


def test_public_features_of_a_video_come_in_as_they_are(test_data: Path, tmp_path: Path) -> None:
    """ViT-B/32 in half precision, five frames a second, one `.npy` per video."""
    file = test_data / "features" / "v_GGSY1Qvo990_clip_vitb32_5fps.npy"
    import_features(file, tmp_path / "s", fps=5, backbone="my-tower")
    store, features = FeatureStore(tmp_path / "s"), np.load(file)
    assert list(store.videos) == [file.stem] and len(features) > 80
    assert np.array_equal(store.features(file.stem).astype(features.dtype), features)
    assert store.timestamps(file.stem)[:3].tolist() == [0, np.float32(0.2), np.float32(0.4)]


def exported(tmp_path: Path, line: dict[str, Any], *, copies: int = 1) -> Path:
    """An export of one video, of which `videos.jsonl` says this."""
    make_store(tmp_path / "made", {"a": ROWS[:, :4]})
    export_features(tmp_path / "made", tmp_path / "out", layout="npy")
    lines = tmp_path / "out" / "videos.jsonl"
    lines.write_text((json.dumps({**json.loads(lines.read_text()), **line}) + "\n") * copies)
    return tmp_path / "out"


@pytest.mark.parametrize("length", ["long", -1, True, float("nan"), 1e300, [3]])
def test_a_length_that_an_archive_cannot_mean_is_not_known(tmp_path: Path, length: object) -> None:
    import_features(exported(tmp_path, {"duration_seconds": length}), tmp_path / "s")
    assert FeatureStore(tmp_path / "s").videos["a"].record.duration_seconds is None


def test_a_damaged_list_of_videos_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no video"):
        import_features(exported(tmp_path, {"file": []}), tmp_path / "s")


def test_a_video_that_is_listed_twice_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the rows of 'a' stand in two places"):
        import_features(exported(tmp_path, {}, copies=2), tmp_path / "s")
