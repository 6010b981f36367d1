from __future__ import annotations

import contextlib
import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from vtrcli.errors import InputError, UsageError, VtrError
from vtrcli.ranking.files import read_similarities, read_text_to_video
from vtrcli.ranking.truth import Truth

MATRIX = np.random.default_rng(0).random((6, 4), dtype=np.float32)


def write(path: Path, array: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array)
    elif path.suffix == ".safetensors":
        save_file({"a": array}, path)
    else:
        torch.save(torch.from_numpy(array), path, _use_new_zipfile_serialization=path.stem != "old")


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def test_npy_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MATRIX)
    matrix = read_similarities(tmp_path / "a.npy")
    assert isinstance(matrix, np.memmap)
    np.testing.assert_array_equal(matrix, MATRIX)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_every_float_dtype_and_order_is_read(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(MATRIX.astype(dtype)))
    np.testing.assert_array_equal(read_similarities(tmp_path / "a.npy"), MATRIX.astype(dtype))


def test_npz_safetensors_and_pt_with_one_array(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", anything=MATRIX)
    save_file({"anything": MATRIX}, tmp_path / "a.safetensors")
    torch.save(torch.from_numpy(MATRIX), tmp_path / "a.pt")
    torch.save({"anything": torch.from_numpy(MATRIX), "epoch": 3}, tmp_path / "b.pt")
    for name in ("a.npz", "a.safetensors", "a.pt", "b.pt"):
        np.testing.assert_array_equal(read_similarities(tmp_path / name), MATRIX)


def test_one_of_several_arrays_is_named(tmp_path: Path) -> None:
    arrays = {"t2v": MATRIX, "features": MATRIX * 2}
    np.savez(tmp_path / "a.npz", **arrays)
    save_file(arrays, tmp_path / "a.safetensors")
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / "a.pt")
    for path in (tmp_path / f"a.{suffix}" for suffix in ("npz", "safetensors", "pt")):
        np.testing.assert_array_equal(read_similarities(path, name="t2v"), MATRIX)
        with pytest.raises(
            UsageError, match="2 arrays; the file holds (t2v, features|features, t2v); name one of"
        ):
            read_similarities(path)
        with pytest.raises(UsageError, match="no array named 'v2t'"):
            read_similarities(path, name="v2t")


def test_bfloat16_tensors_become_float32(tmp_path: Path) -> None:
    torch.save(torch.ones(2, 2, dtype=torch.bfloat16), tmp_path / "a.pt")
    assert read_similarities(tmp_path / "a.pt").dtype == np.float32


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "pt"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, np.random.default_rng(0).random((60, 40), dtype=np.float32))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        InputError, match=r"a\.\w+: cannot be read: .*; a whole file of plain numbers is read;"
    ):
        read_similarities(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors", "a.pt", "old.pt"])
def test_changed_bytes_give_a_matrix_or_a_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, MATRIX)
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(whole), 400), size=3):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(VtrError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's about headers of Python 2
            assert read_similarities(path).ndim == 2


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "pt", "pth"])
def test_pickles_are_never_run(tmp_path: Path, suffix: str) -> None:
    path, trap = tmp_path / f"a.{suffix}", tmp_path / "trap"
    path.write_bytes(pickle.dumps(Harmful(trap)))
    with pytest.raises(InputError, match="cannot be read"):
        read_similarities(path)
    torch.save(Harmful(trap), tmp_path / "b.pt")
    with pytest.raises(InputError, match="it holds pickled objects that are not tensors"):
        read_similarities(tmp_path / "b.pt")
    assert not trap.exists()


def test_object_arrays_are_never_loaded(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    objects = np.array([[Harmful(trap)]], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match="cannot be read"):
            read_similarities(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 3), np.int64), r"a\.npy: an array of dtype int64; float16, float32 or float64 is read;"),
        (np.ones((3, 3), np.bool_), r"a\.npy: an array of dtype bool;"),
        (
            np.ones(9, np.float32),
            r"a\.npy: an array of shape \(9,\); similarities and vectors have two dimensions",
        ),
        (np.ones((3, 3, 1), np.float32), r"a\.npy: an array of shape \(3, 3, 1\);"),
        (np.ones((0, 5), np.float32), r"a\.npy: (an array of shape \(0, 5\)|cannot be read)"),
    ],
)
def test_only_float_matrices_are_read(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=message):
        read_similarities(tmp_path / "a.npy")


def test_an_archive_without_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w"):
        pass
    with pytest.raises(UsageError, match="0 arrays; the file holds none"):
        read_similarities(tmp_path / "a.npz")


def test_a_missing_file_and_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; the scores must be a file"):
        read_similarities(tmp_path / "a.npy")
    with pytest.raises(UsageError, match=r"a file of type \.mat; scores are read from \.npy, \.npz"):
        read_similarities(tmp_path / "a.mat")


def read(path: Path) -> list[tuple[int, int]]:
    truth = read_text_to_video(path, num_texts=3, num_videos=5)
    assert isinstance(truth, Truth)
    return list(zip(truth.text_index.tolist(), truth.video_index.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "[4, 0, 4]"),
        ("a.txt", "4\n0\n4\n"),
        ("a.csv", "\ufeffvideo\r\n4\r\n0\r\n4\r\n"),
        ("b.csv", "text,video\n0,4\n2,4\n1,0\n"),
        ("c.csv", "0,4\n1,0\n\n2, 4"),
    ],
)
def test_the_video_of_each_text(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read(tmp_path / name) == [(0, 4), (1, 0), (2, 4)]


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([4, 0, 4], np.uint16))
    np.save(tmp_path / "b.npy", np.array([[0, 4], [1, 0], [2, 4]]))
    assert read(tmp_path / "a.npy") == read(tmp_path / "b.npy") == [(0, 4), (1, 0), (2, 4)]


def test_several_videos_per_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([[1, 0], 2, [3]]))
    assert read(tmp_path / "a.json") == [(0, 0), (0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "4\n0\n", "text 2 has no video"),
        ("a.txt", "4\n0\n4\n1\n", "videos for 4 texts; the scores have 3 texts"),
        ("a.txt", "4\n0\n5\n", "video index 5; with 5 videos an index is 0 to 4"),
        ("a.txt", "4\n0\n-1\n", "video index -1;"),
        ("a.txt", "4\nzero\n4\n", "cannot be read: invalid literal"),
        ("a.txt", "4\n0.5\n4\n", "cannot be read: invalid literal"),
        ("a.txt", "", "cannot be read: its lines hold"),
        ("a.csv", "1,2,3\n", r"cannot be read: its lines hold \[3\] values; a mapping holds whole numbers"),
        ("a.json", '{"0": 4}', "cannot be read: it is not a list"),
        ("a.json", "[4, true, 4]", "cannot be read: entry 1 is True"),
        ("a.json", "[4, null, 4]", "cannot be read: entry 1 is None"),
        ("a.json", "[4, []", "cannot be read"),
        ("a.json", "[4, [], 4]", "text 1 has no video"),
        ("a.json", f"[4, 0, {10**30}]", "cannot be read"),
    ],
)
def test_what_a_mapping_must_hold(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("array", [np.array([4.0, 0, 4]), np.zeros((3, 3), int), np.array([4, None, 4])])
def test_arrays_of_other_kinds_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "a.npy")


def test_missing_file_and_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.txt")
    with pytest.raises(
        UsageError, match=r"a file of type \.xml; a mapping is read from \.npy, \.json, \.csv, \.txt"
    ):
        read(tmp_path / "a.xml")
