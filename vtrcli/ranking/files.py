"""Reads scores (or vectors) of any model, and which video belongs to which text, without running anything that a file
holds.

NaN and infinity are found where the scores are used (`scores.DenseScores.bound`), so that a mapped file is not
read twice; indices are checked by `truth`.
"""

from __future__ import annotations

import csv
import errno
import json
import pickle
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError, UsageError, brief
from vtrcli.ranking.scores import check_matrix
from vtrcli.ranking.truth import Truth
from vtrcli.text_files import decode_text

# What the readers raise on damaged files, found by changing bytes at random.
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    AssertionError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
MATRIX_SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")
TRUTH_SUFFIXES = (".npy", ".json", ".csv", ".txt")


def read_similarities(path: Path, *, name: str | None = None) -> np.ndarray:
    """A float matrix [num_texts, num_videos]; a .npy is mapped, not loaded.

    Args:
        path: .npy, .npz, .safetensors, or a .pt that holds tensors only (read with weights_only).
        name: which array, where the file holds several.

    Raises:
        InputError: missing, damaged or cut short, pickled, not a matrix, or not floating point.
        UsageError: an unknown suffix, or `name` fits no array.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MATRIX_SUFFIXES:
        raise UsageError(
            f"{path}: a file of type {suffix or 'without suffix'}",
            allowed=f"scores are read from {', '.join(MATRIX_SUFFIXES)}",
            to_do="save the matrix with numpy.save",
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file", allowed="the scores must be a file", to_do="check the path")
    try:
        matrix = _read(path, suffix, name)
    except _DAMAGED as cause:
        raise _unreadable(path, cause) from cause
    except pickle.UnpicklingError as cause:
        raise _unreadable(path, "it holds pickled objects that are not tensors") from cause
    try:
        check_matrix(matrix)
    except InputError as error:
        raise InputError(f"{path}: {error.came_in}", allowed=error.allowed, to_do=error.to_do) from error
    return matrix


def _read(path: Path, suffix: str, name: str | None) -> np.ndarray:
    if suffix == ".npy":
        # Not numpy.load: that would also open a zip file, or complain of pickle where the file is just text.
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except OSError as cause:
            if cause.errno not in (errno.ENODEV, errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM):
                raise
        with open(path, "rb") as file:  # some shared folders and network mounts map no file
            return np.lib.format.read_array(file, allow_pickle=False)
    if suffix == ".npz":
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[_choose(path, arrays.files, name)])
    if suffix == ".safetensors":
        return _read_safetensors(path, name)
    return _read_torch(path, name)


def _read_safetensors(path: Path, name: str | None) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return np.asarray(file.get_tensor(_choose(path, list(file.keys()), name)))
    except (SafetensorError, TypeError) as cause:
        raise ValueError(str(cause)) from cause


def _read_torch(path: Path, name: str | None) -> np.ndarray:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about pickle protocols; the outcome says enough
        content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, Mapping):
        tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors[_choose(path, list(tensors), name)]
    if not isinstance(content, torch.Tensor):
        raise ValueError(f"it holds a {type(content).__name__}, not a tensor")
    if content.dtype == torch.bfloat16:
        content = content.float()
    return np.asarray(content.detach().numpy())


def _choose(path: Path, names: list[str], name: str | None) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if name in names:
        return str(name)
    raise UsageError(
        f"{path}: " + (f"no array named {name!r}" if name else f"{len(names)} arrays"),
        allowed=f"the file holds {', '.join(map(str, names)) or 'none'}",
        to_do="name one of them, or save the matrix alone",
    )


def _unreadable(path: Path, cause: Any) -> InputError:
    return InputError(
        f"{path}: cannot be read: {brief(cause)}",
        allowed="a whole file of plain numbers is read; pickled objects never are",
        to_do="save the scores again, as one float array, with numpy.save(path, scores)",
    )


def read_text_to_video(path: Path, *, num_texts: int, num_videos: int) -> Truth:
    """The truth of `num_texts` texts among `num_videos` videos. Indices count from 0.

    - .npy: int [num_texts], the video of each text, or int [num_pairs, 2], pairs of text and video.
    - .json: one entry per text: an index, or a list of indices where several videos are right.
    - .csv, .txt: one line per text with the video's index, or lines `text,video`; a header line is skipped.

    Raises:
        InputError: missing, damaged, not whole numbers, out of range, or not one entry per text.
        UsageError: an unknown suffix.
    """
    path = Path(path)
    readers = {".npy": _from_npy, ".json": _from_json, ".csv": _from_lines, ".txt": _from_lines}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path}: a file of type {path.suffix or 'without suffix'}",
            allowed=f"a mapping is read from {', '.join(TRUTH_SUFFIXES)}",
            to_do="write one line per text with the index of its video, as .txt",
        )
    try:
        pairs = np.asarray(readers[path.suffix.lower()](path), dtype=np.int64).reshape(-1, 2)
    except (OSError, ValueError, OverflowError, EOFError, RecursionError) as cause:
        raise InputError(
            f"{path}: cannot be read: {' '.join(str(cause).split())[:200]}",
            allowed="a mapping holds whole numbers: the video of each text, or pairs of text and video",
            to_do="write one line per text with the index of its video, as .txt",
        ) from cause
    num_named = int(pairs[:, 0].max()) + 1 if len(pairs) else 0
    if num_named > num_texts:
        raise InputError(
            f"{path}: videos for {num_named} texts",
            allowed=f"the scores have {num_texts} texts (rows)",
            to_do="use the mapping that belongs to these scores",
        )
    return Truth.from_pairs(pairs, num_texts=num_texts, num_videos=num_videos)


def _from_npy(path: Path) -> Any:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise ValueError(f"it holds {getattr(array, 'dtype', 'several arrays')}, not whole numbers")
    if array.ndim == 1:
        return list(enumerate(array.tolist()))
    if array.ndim == 2 and array.shape[1] == 2:
        return array
    raise ValueError(f"its shape is {array.shape}")


def _from_json(path: Path) -> list[tuple[int, int]]:
    content = json.loads(decode_text(path.read_bytes(), name=str(path)))
    if not isinstance(content, list):
        raise ValueError("it is not a list")
    pairs = []
    for text, entry in enumerate(content):
        for video in entry if isinstance(entry, list) else [entry]:
            if type(video) is not int:
                raise ValueError(f"entry {text} is {video!r}")
            pairs.append((text, video))
    return pairs


def _from_lines(path: Path) -> list[tuple[int, int]]:
    lines = decode_text(path.read_bytes(), name=str(path)).splitlines()
    rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    if rows and not all(_is_whole(cell) for cell in rows[0]):
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if widths not in ({1}, {2}):
        raise ValueError(f"its lines hold {sorted(widths)} values")
    numbers = [[int(cell) for cell in row] for row in rows]
    if widths == {1}:
        return [(text, row[0]) for text, row in enumerate(numbers)]
    return [(row[0], row[1]) for row in numbers]


def _is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdigit()
