"""Arrays in files that others made (.npy, .npz, .pt, .safetensors): numbers, with limits; nothing in them is run.

A file may lie: what its header claims is compared with the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import math
import pickle
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from vtrcli.errors import brief

ARRAY_SUFFIXES = (".npz", ".npy", ".pt", ".pth", ".safetensors")
MAX_ARRAY_BYTES = 2 << 30  # unpacked: a million rows of 512 numbers in float32
# What the readers raise on files that are damaged, or of another kind.
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,  # an encrypted member, and most of torch's
    NotImplementedError,
    AssertionError,
    MemoryError,
    OverflowError,
    SyntaxError,
    pickle.UnpicklingError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class BadArrayError(Exception):
    """A file does not hold the array that is wanted; the message says why, in a few words."""


def begin_npy(file: IO[bytes], *, shape: tuple[int, ...], dtype: str) -> None:
    """Write the header of a .npy file; the numbers follow as they lie in memory, little-endian, row by row."""
    header = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]


def read_arrays(path: Path, names: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of a file by name: the first of `names` that it holds, or its only one, as "" where it has no name; and
    those of `optional` that are there.

    Args:
        path: its suffix says what it is, one of ARRAY_SUFFIXES. A .npy is mapped, not loaded.

    Raises:
        BadArrayError: missing, cut short, too large, pickled, not plain numbers, or several arrays of other names.
    """
    readers = {".npy": _read_npy, ".npz": _read_npz, ".safetensors": _read_safetensors}
    reader = readers.get(path.suffix.lower(), _read_torch)
    try:
        if not path.is_file():
            raise BadArrayError("it is no regular file")
        return reader(path, names, optional)
    except _DAMAGED as cause:
        raise BadArrayError(f"it cannot be read: {brief(cause)}") from cause


def _chosen(held: Sequence[str], names: Sequence[str], optional: Sequence[str]) -> list[str]:
    """The wanted array first. Raises BadArrayError."""
    others = [name for name in held if name not in optional]
    wanted = next((name for name in names if name in held), others[0] if len(others) == 1 else None)
    if wanted is None:
        few = ", ".join(map(repr, sorted(held)[:5])) or "nothing"
        raise BadArrayError(f"it holds {few}, and no {' or '.join(map(repr, names))}")
    return [wanted, *(name for name in optional if name in held and name != wanted)]


def _require_small(num_bytes: int) -> None:
    if num_bytes > MAX_ARRAY_BYTES:
        raise BadArrayError(f"it would take {num_bytes:,} bytes, above {MAX_ARRAY_BYTES:,}")


def _read_npy(path: Path, names: Sequence[str], optional: Sequence[str]) -> dict[str, np.ndarray]:
    # Not numpy.load: that would also open a zip file. A header that claims more than the file holds cannot be mapped.
    return {"": np.lib.format.open_memmap(path, mode="r")}


def _read_npz(path: Path, names: Sequence[str], optional: Sequence[str]) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        held = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
        chosen = _chosen(list(held), names, optional)
        _require_small(sum(held[name].file_size for name in chosen))
        arrays = {}
        for name in chosen:
            with archive.open(held[name]) as member:
                arrays[name] = _read_member(member, held[name].file_size)
        return arrays


def _read_member(member: IO[bytes], num_bytes: int) -> np.ndarray:
    """An array from a stream of at most `num_bytes`; never more is read, whatever its header says."""
    version = np.lib.format.read_magic(member)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, is_fortran, dtype = header[version](member)  # type: ignore[no-untyped-call]
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise BadArrayError("it holds pickled objects, which are never read")
    if size > num_bytes:
        raise BadArrayError("its header claims more than it holds")
    body = member.read(size + 1)
    if len(body) != size:
        raise BadArrayError("its header and its size do not agree")
    array = np.frombuffer(body, dtype)
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def _read_safetensors(path: Path, names: Sequence[str], optional: Sequence[str]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    _require_small(path.stat().st_size)
    try:
        with safe_open(path, framework="np") as file:
            return {
                name: np.asarray(file.get_tensor(name))
                for name in _chosen(list(file.keys()), names, optional)
            }
    except SafetensorError as cause:
        raise BadArrayError(f"it cannot be read: {brief(cause)}") from cause


def _read_torch(path: Path, names: Sequence[str], optional: Sequence[str]) -> dict[str, np.ndarray]:
    import torch

    _require_small(_unpacked_bytes(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about pickle protocols; the outcome says enough
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as cause:
            raise BadArrayError(
                "it holds pickled objects that are not tensors, which are never read"
            ) from cause
    if isinstance(content, torch.Tensor):
        return {"": _numbers(content)}
    if not isinstance(content, Mapping):
        raise BadArrayError(f"it holds a {type(content).__name__}, not a tensor")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    return {name: _numbers(tensors[name]) for name in _chosen(list(tensors), names, optional)}


def _unpacked_bytes(path: Path) -> int:
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(item.file_size for item in archive.infolist())


def _numbers(tensor: Any) -> np.ndarray:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized:
        raise BadArrayError("its tensor is no plain array")
    # A view may repeat a few numbers to any size.
    _require_small(tensor.numel() * tensor.element_size())
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy())
