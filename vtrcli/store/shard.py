"""One shard file: the byte format of features on disk. docs/store-format.md is its description.

A shard is a safetensors file. It is read here by its header and then row by row, so that opening a store reads
no features and needs no library; it is written by the safetensors package.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.config import MALFORMED, STORE_VERSION
from vtrcli.store.maps import BFLOAT16, PartFile, Rows
from vtrcli.store.records import VideoRecord
from vtrcli.store.roots import NO_ROOTS, Roots

SHARD_FORMAT = "vtr-shard"
VIDEOS_CRC32, REMOVED_CRC32 = "videos_crc32", "removed_crc32"
MAX_HEADER_BYTES = 100 * 1024 * 1024
DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": BFLOAT16,
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}
# The command that makes the contents of a file that was set aside once more.
_REMAKE_COMMAND = {
    "bank.safetensors": "vtr bank build",
    "text": "vtr cache",
    "frames": "vtr extract --keep-frames",
}


class NewerFormatError(StoreError):
    """A file that a later vtr wrote: sound, and not for this one."""


class TensorFile:
    """A safetensors file, open. No tensor is read before it is asked for.

    Args:
        file: it, where it is open already; its name may be gone.

    Raises:
        StoreError: the file cannot be opened, or is not a whole safetensors file.
    """

    def __init__(self, path: Path, *, file: PartFile | None = None) -> None:
        self.path = path
        self._file = file or PartFile(path)
        self.num_bytes, self.mtime_ns = self._file.num_bytes, self._file.mtime_ns
        try:
            if self.num_bytes < 8:
                raise ValueError("the header's length is wrong")
            header_bytes = int.from_bytes(self._file.read(0, 8).tobytes(), "little")
            if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, self.num_bytes - 8):
                raise ValueError("the header's length is wrong")
            header: dict[str, Any] = json.loads(self._file.read(8, header_bytes).tobytes())
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            if not all(isinstance(value, str) for value in self.metadata.values()):
                raise ValueError("its metadata are not strings")
            self._data_start = 8 + header_bytes
            self._let_go: set[str] = set()
            self._tensors = {name: self._checked(entry) for name, entry in header.items()}
            ends = [end for _, _, _, end in self._tensors.values()]
            if max(ends, default=0) != self.num_bytes - self._data_start:
                raise ValueError("the file is shorter or longer than its header says")
        except MALFORMED as cause:
            raise damaged(path, str(cause)) from cause

    def _checked(self, entry: dict[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        start, end = entry["data_offsets"]
        if any(type(number) is not int or number < 0 for number in (*shape, start, end)):
            raise ValueError("a tensor's size is not a number")
        if end - start != dtype.itemsize * math.prod(shape):
            raise ValueError("a tensor's size does not fit its shape")
        return dtype, shape, start, end

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def is_still_there(self) -> bool:
        """Whether its name stands for a file of its size and time."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.num_bytes, self.mtime_ns)

    def text(self, name: str) -> str:
        """An entry of the metadata, read once more where it was let go. Raises StoreError where it cannot be."""
        if name not in self._let_go:
            return self.metadata[name]
        return TensorFile(self.path, file=self._file).metadata[name]

    def let_go(self, name: str) -> None:
        """Forget an entry of the metadata, which takes memory: `text` reads it again."""
        if self.metadata.pop(name, None) is not None:
            self._let_go.add(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header alone."""
        return self._entry(name)[1]

    def position(self, name: str) -> int:
        """Where in the file a tensor's bytes begin."""
        return self._data_start + self._entry(name)[2]

    def rows(self, name: str, *, is_mapped: bool = False) -> Rows:
        """A tensor of at least one dimension, whose rows are read when they are taken."""
        dtype, shape, start, _ = self._entry(name)
        return Rows(self._file, dtype, shape, self._data_start + start, is_mapped=is_mapped)

    def tensor(self, name: str) -> np.ndarray:
        """A tensor, read whole."""
        dtype, shape, start, end = self._entry(name)
        return self._file.read(self._data_start + start, end - start).view(dtype).reshape(shape)

    def mapped(self) -> dict[str, np.ndarray]:
        """All tensors, of one mapping, read-only. For weights and catalogues, whose files stay whole: one that is cut
        short under its reader ends the process. Raises StoreError where the system does not map the file."""
        whole = self._file.mapped()
        if whole is None:
            raise StoreError(
                f"{self.path} cannot be mapped into memory",
                allowed="a file on a file system that maps files, and descriptors to spare",
                to_do="close other programs, or copy the file to a local disk",
            )
        return {
            name: np.frombuffer(
                whole, dtype, count=math.prod(shape), offset=self._data_start + start
            ).reshape(shape)
            for name, (dtype, shape, start, _) in self._tensors.items()
        }

    def require(self, name: str, dtype: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
        """The shape of a tensor; None in `shape` allows any size.

        Raises:
            StoreError: the tensor is missing, of another type or of another shape.
        """
        have, sizes, _, _ = self._entry(name)
        fits = len(sizes) == len(shape) and all(b in (None, a) for a, b in zip(sizes, shape, strict=True))
        if have != DTYPES[dtype]:
            raise damaged(self.path, f"tensor {name!r} is not {dtype}")
        if not fits:
            raise damaged(self.path, "the tensors' shapes do not agree")
        return sizes

    def checksum_problem(self) -> str | None:
        """What `wrong_checksums` finds, in words."""
        wrong = self.wrong_checksums()
        return f"the bytes of {', '.join(wrong)} are not those that were written" if wrong else None

    def wrong_checksums(self) -> list[str]:
        """Names of the tensors whose bytes are not those that were written, and "videos" and "removed" for the lists
        in the header; reads the whole file.

        Raises:
            StoreError: the checksums cannot be read.
        """
        try:
            written = json.loads(self.metadata["crc32"])
            wrong = [name for name in self._tensors if crc32(self.tensor(name)) != written.get(name)]
        except MALFORMED as cause:
            raise damaged(self.path, f"the checksums cannot be read ({cause})") from cause
        for name, key in (("videos", VIDEOS_CRC32), ("removed", REMOVED_CRC32)):
            crc = text_crc32(self.text(name) if name in self._let_go else self.metadata.get(name, ""))
            if (
                self.metadata.get(key, crc) != crc
            ):  # shards of the first releases carry no checksum of their header
                wrong.append(name)
        return wrong

    def _entry(self, name: str) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
        if name not in self._tensors:
            raise damaged(self.path, f"tensor {name!r} is missing")
        return self._tensors[name]


@dataclass(frozen=True)
class Shard:
    """An open shard. `features` [total_frames, dim] float16, `timestamps` [total_frames] float32 seconds,
    `offsets` [num_videos + 1] int64: video v owns rows offsets[v] to offsets[v + 1].

    `removed` are ids whose rows in earlier shards count no more; a shard that removes is called a tombstone.
    """

    path: Path
    file: TensorFile
    records: tuple[VideoRecord, ...]
    removed: tuple[str, ...] = ()

    @property
    def features(self) -> Rows:
        """[total_frames, dim] float16; read when rows are taken."""
        return self.file.rows("features")

    @property
    def timestamps(self) -> Rows:
        """[total_frames] float32, seconds from the start of each video; read when rows are taken."""
        return self.file.rows("timestamps")

    @cached_property
    def offsets(self) -> np.ndarray:
        """[num_videos + 1] int64."""
        return self.file.tensor("offsets")


def shard_bytes(
    videos: list[dict[str, Any]],
    features: list[np.ndarray],
    timestamps: list[np.ndarray],
    *,
    backbone_sha256: str,
) -> bytes:
    """The bytes of one shard.

    Args:
        videos: per video what the header says of it, as `VideoRecord.to_json`.
        features: per video float16 [num_frames, dim], finite.
        timestamps: per video float32 [num_frames], seconds.
    """
    tensors = {
        "features": np.concatenate(features).astype("<f2", copy=False),
        "offsets": np.cumsum([0, *map(len, features)], dtype=np.int64),
        "timestamps": np.concatenate(timestamps).astype("<f4", copy=False),
    }
    metadata = {"backbone_sha256": backbone_sha256, "videos": json.dumps(videos)}
    return tensor_bytes(tensors, SHARD_FORMAT, metadata)


def tombstone_bytes(video_ids: Sequence[str], *, dim: int, backbone_sha256: str) -> bytes:
    """The bytes of a shard without rows that takes away what earlier shards hold of `video_ids`."""
    tensors = {
        "features": np.zeros((0, dim), "<f2"),
        "offsets": np.zeros(1, np.int64),
        "timestamps": np.zeros(0, "<f4"),
    }
    removed = json.dumps(list(video_ids))
    metadata = {"backbone_sha256": backbone_sha256, "videos": "[]", "removed": removed}
    return tensor_bytes(tensors, SHARD_FORMAT, metadata)


def tensor_bytes(tensors: dict[str, np.ndarray], file_format: str, metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file of a store, with checksums of its tensors and lists in its metadata.

    `metadata` may tell a version of its own."""
    from safetensors.numpy import save

    checksums = {"crc32": json.dumps({name: crc32(tensor) for name, tensor in sorted(tensors.items())})}
    for name, key in (("videos", VIDEOS_CRC32), ("removed", REMOVED_CRC32)):
        if name in metadata:
            checksums[key] = text_crc32(metadata[name])
    return save(tensors, {"format": file_format, "version": str(STORE_VERSION), **metadata, **checksums})


def crc32(tensor: np.ndarray) -> str:
    """CRC-32 of a tensor's little-endian bytes, eight hexadecimal digits."""
    return f"{zlib.crc32(np.ascontiguousarray(tensor).data):08x}"


def text_crc32(text: str) -> str:
    """CRC-32 of a text in UTF-8, eight hexadecimal digits."""
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def are_valid_offsets(offsets: np.ndarray, total: int) -> bool:
    """Whether int64 [num_parts + 1] `offsets` cut `total` things into parts that hold at least one each."""
    return bool(offsets[0] == 0 and offsets[-1] == total and np.all(offsets[1:] > offsets[:-1]))


def open_tensors(path: Path, *, file_format: str, called: str, newest: int = STORE_VERSION) -> TensorFile:
    """Open a tensor file of a store by its header.

    Args:
        file_format: what its metadata must say.
        called: the same for people, such as "a feature shard".
        newest: the newest version of that kind of file that can be read.

    Raises:
        StoreError: damaged, of a newer format, or another kind of file.
    """
    file = TensorFile(path)
    if file.metadata.get("format") != file_format:
        raise damaged(path, f"it is not {called}")
    version = file.metadata.get("version", "")
    if not (version.isascii() and version.isdigit() and len(version) < 10):
        raise damaged(path, f"its format version is {version[:20]!r}")
    if int(version) > newest:
        raise NewerFormatError(
            f"{path} has format version {version}",
            allowed=f"this vtr reads versions up to {newest}",
            to_do="update vtr: pip install -U vtrcli",
        )
    return file


def open_shard(path: Path, roots: Roots = NO_ROOTS) -> Shard:
    """Open a shard by its header; its records' paths are where `roots` say that the folders are now.

    Raises:
        StoreError: damaged, of a newer format, or not a shard at all.
    """
    file = open_tensors(path, file_format=SHARD_FORMAT, called="a feature shard")
    try:
        records = tuple(VideoRecord.from_json(body, roots) for body in json.loads(file.metadata["videos"]))
        file.let_go("videos")  # half a kilobyte a video
        removed = json.loads(file.metadata.get("removed", "[]"))
        if not isinstance(removed, list) or not all(isinstance(name, str) for name in removed):
            raise TypeError("what it removes is not a list of ids")
    except MALFORMED as cause:
        raise damaged(path, f"the video list cannot be read ({cause})") from cause
    num_frames, _ = file.require("features", "F16", (None, None))
    file.require("timestamps", "F32", (num_frames,))
    file.require("offsets", "I64", (len(records) + 1,))
    return Shard(path, file, records, tuple(removed))


def damaged(path: Path, detail: str) -> StoreError:
    """The error for a file of a store that cannot be trusted."""
    command = _REMAKE_COMMAND.get(path.parent.name, _REMAKE_COMMAND.get(path.name, "vtr extract"))
    return StoreError(
        f"{path} is damaged: {detail}",
        allowed=f"a whole file as `{command}` writes it",
        to_do=f"run `vtr store verify --repair` to set it aside, then `{command}` again",
    )
