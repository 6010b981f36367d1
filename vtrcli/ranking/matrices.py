"""Reads a similarity matrix (or vectors) from a file of any model, without running anything that the file holds.

NaN and infinity are found where the scores are used (`scores.DenseScores.bound`), so that a mapped file is not
read twice.
"""

from __future__ import annotations

import errno
import pickle
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.scores import check_matrix

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
SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")


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
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{path}: a file of type {suffix or 'without suffix'}",
            allowed=f"scores are read from {', '.join(SUFFIXES)}",
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
    reason = " ".join(str(cause).split())[:200] or type(cause).__name__
    return InputError(
        f"{path}: cannot be read: {reason}",
        allowed="a whole file of plain numbers is read; pickled objects never are",
        to_do="save the scores again, as one float array, with numpy.save(path, scores)",
    )
