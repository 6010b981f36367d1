"""OpenAI's TorchScript archives -> a state dict, without running anything that is in them.

`torch.jit.load` would compile and could run the archive's code. Here the zip file is read, and its data.pkl
goes through an unpickler that knows four functions, all inert: objects become attribute tables, tensors
become views of the archive's raw storages. Everything else in the pickle is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from vtrcli.errors import WeightsError

# OpenAI's largest archive is 1.3 GB with a 2 MB pickle. Storages lie uncompressed in the archive, so a small
# file cannot unfold into a large one.
_MAX_STORAGE_BYTES = 8 << 30
_MAX_PICKLE_BYTES = 64 << 20
_MAX_NODES = 50_000

# What the unpickler raises for bytes that are no pickle, or one that no module could have made.
_NONSENSE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)

_STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """True for an archive of torch.jit.save; torch.save writes no constants.pkl."""
    return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(archive: zipfile.ZipFile, *, source: str) -> dict[str, torch.Tensor]:
    """Every tensor attribute by its dotted name (also such as are not parameters). Raises WeightsError."""
    infos = archive.infolist()
    pickles = [info for info in infos if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _MAX_PICKLE_BYTES:
        raise _refused(source, "it has no data.pkl of a sane size")
    if sum(info.file_size for info in infos) > _MAX_STORAGE_BYTES:
        raise _refused(source, f"it unpacks to more than {_MAX_STORAGE_BYTES >> 30} GB")
    prefix = pickles[0].filename.removesuffix("data.pkl")
    try:
        with archive.open(pickles[0]) as file:
            root = _Unpickler(file, archive=archive, prefix=prefix).load()
        return dict(_tensors(root))
    except _Refused as error:
        raise _refused(source, str(error)) from error
    except _NONSENSE as error:
        raise _refused(source, "its data.pkl does not make sense") from error


class _Refused(Exception):
    """What the archive asks for is not on the list."""


class _Node:
    """A module of the archive: only its attributes are kept."""

    __slots__ = ("attributes",)

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


class _Call:
    """One of the four functions a pickle may name. No `__dict__`, so that the pickle cannot change it."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return arguments[0] if arguments else None


class _RebuildTensor(_Call):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> torch.Tensor:
        storage, offset, size, stride = arguments[:4]
        count = 1
        for length in size:
            count *= length
        if not isinstance(storage, torch.Tensor) or count > storage.numel():
            raise _Refused("a tensor is larger than its storage")
        return storage.as_strided(size, stride, offset)  # torch checks the bounds


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, *, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type("Node", (_Node,), {"__slots__": ()})
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("collections", "OrderedDict") or module == "torch.jit._pickle":
            return _Call()
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        raise _Refused(f"it asks for {module}.{name}, which could run code")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, storage_type, key, _, _ = pid
        if kind != "storage" or storage_type not in _STORAGE_DTYPES:
            raise _Refused(f"it asks for a {kind} {storage_type}")
        if key not in self._storages:
            self._storages[key] = self._read_storage(str(key), _STORAGE_DTYPES[storage_type])
        return self._storages[key]

    def _read_storage(self, key: str, dtype: torch.dtype) -> torch.Tensor:
        info = self._archive.getinfo(f"{self._prefix}data/{key}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise _Refused("it holds compressed tensors")
        buffer = bytearray(self._archive.read(info))  # also compares the checksum
        if not buffer:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(buffer, dtype=dtype)


def _tensors(root: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(dotted name, tensor) of every tensor in the tree of modules."""
    stack = [("", root)]
    num_seen = 0
    while stack:
        prefix, node = stack.pop()
        attributes = node.attributes if isinstance(node, _Node) else {}
        for name, value in attributes.items():
            num_seen += 1
            if num_seen > _MAX_NODES:
                raise _Refused("it has too many parts")
            if isinstance(value, torch.Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, _Node):
                stack.append((f"{prefix}{name}.", value))


def _refused(source: str, why: str) -> WeightsError:
    return WeightsError(
        f"{source} cannot be used as weights: {why}",
        allowed="a TorchScript archive of CLIP holds modules and tensors, nothing else is loaded",
        to_do="get the file from OpenAI again (`vtr models pull`)",
    )
