"""The catalogue of a store: everything that ranking needs to know of its videos, in arrays that open at once.

Reading the headers of 100,000 videos takes seconds, the catalogue milliseconds. It is made and kept by catalog_file.py.

Letters: S shards, R rows of all shards one after the other, V current videos in the order of their rows.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np

from vtrcli.store.config import SHARD_FOLDER, StoreConfig
from vtrcli.store.maps import PartFile, Rows, allow_open_files

CHUNK_NAMES = 65_536  # that are unpacked at once
FILES_PER_SHARD = 4  # itself, its mapping, and the same of a table derived from it
# Tensors of the file, their types and the letters of their shapes.
TENSORS = {
    "shard_bytes": ("I64", "S"),  # size and time of the file, to notice that it was replaced
    "shard_mtime_ns": ("I64", "S"),
    "shard_crc32": ("I64", "S"),  # of the checksums in its header: names its content
    "shard_rows": ("I64", "S"),
    "shard_videos": ("I64", "S"),
    "features_at": ("I64", "S"),  # where in the file the features begin
    "timestamps_at": ("I64", "S"),
    "inverse_norms": ("F32", "R"),
    "video_shard": ("I64", "V"),
    "video_position": ("I64", "V"),  # its number among the videos of its shard
    "start": ("I64", "V"),  # among the rows of all shards
    "stop": ("I64", "V"),
    "mean_norms": ("F32", "V"),
    "duration_seconds": ("F64", "V"),
    "mtime_ns": ("I64", "V"),
    "num_bytes": ("I64", "V"),
    "inode": ("I64", "V"),  # -1 where it is not known
    "ctime_ns": ("I64", "V"),
    "content": ("I64", "V"),  # hash of the file's hash; 0 where that is not known
    "fingerprint": ("I64", "V"),  # the same of its size and ends
}


class PackedStrings(Sequence[str]):
    """Strings packed as UTF-8 (lone surrogates allowed): `body` uint8 [num_bytes], `offsets` int64 [num_names + 1]."""

    def __init__(self, body: np.ndarray, offsets: np.ndarray) -> None:
        self.body, self.offsets = body, offsets

    @classmethod
    def pack(cls, names: Iterable[str]) -> PackedStrings:
        """Pack strings, in their order."""
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            first, stop, step = index.indices(len(self))
            edges = self.offsets[first : max(first, stop) + 1]
            body = self.body[edges[0] : edges[-1]].tobytes() if len(edges) else b""
            cuts = (edges - edges[:1]).tolist()
            found = [_text(body[start:end]) for start, end in itertools.pairwise(cuts)]
            return found[::step] if step > 0 else [self[number] for number in range(first, stop, step)]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return _text(self.body[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def all(self) -> list[str]:
        """Every string; much faster than one at a time."""
        return self[:]


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # a damaged file: what is shown then is no file's name
        return body.decode("utf-8", "replace")


class NumberOf:
    """Name -> its number among packed ones, the last where it is there several times: as a dict of them, in 16 bytes a
    name instead of 180. `hashes` int64 are sorted, `numbers` int64 whose they are."""

    def __init__(self, names: PackedStrings) -> None:
        self._names = names
        parts = [
            np.fromiter(map(hash, names[first : first + CHUNK_NAMES]), np.int64)
            for first in range(0, len(names), CHUNK_NAMES)
        ]
        hashes = np.concatenate([np.zeros(0, np.int64), *parts])
        self.numbers = np.argsort(hashes, kind="stable")
        self.hashes = hashes[self.numbers]

    def get(self, name: str) -> int | None:
        """None for a name that is not there."""
        first, stop = (int(np.searchsorted(self.hashes, hash(name), side)) for side in ("left", "right"))
        here = reversed(self.numbers[first:stop].tolist())
        return next((number for number in here if self._names[number] == name), None)

    def __getitem__(self, name: str) -> int:
        number = self.get(name)
        if number is None:
            raise KeyError(name)
        return number

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None


def hashed(text: str | None) -> int:
    """A hash of a file as one signed number, for a tensor; 0 for none."""
    if not text:
        return 0
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def masked(number: int | None) -> int:
    """A number of any size as one of a tensor; -1 for none."""
    return -1 if number is None else number & 0x7FFF_FFFF_FFFF_FFFF


@dataclass(frozen=True)
class Catalog:
    """The current videos of a store.

    Attributes:
        shard_names: file names in the order in which they supersede each other.
        arrays: the tensors of `TENSORS`. `inverse_norms` are 1 / length of each feature row (0 for a zero row),
            `mean_norms` the length of the mean of a video's unit rows, `duration_seconds` NaN where it is not known.
        ids, paths: per video.
        left_out: per shard what is wrong with those of its videos that cannot be searched.
    """

    store: Path
    config: StoreConfig
    shard_names: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    ids: PackedStrings
    paths: PackedStrings
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    @property
    def num_videos(self) -> int:
        """How many videos are current."""
        return len(self.ids)

    def file_states(self) -> dict[str, tuple[int, int]]:
        """Per shard its size and time when it was read."""
        states = zip(self["shard_bytes"].tolist(), self["shard_mtime_ns"].tolist(), strict=True)
        return dict(zip(self.shard_names, states, strict=True))

    @cached_property
    def shard_keys(self) -> tuple[str, ...]:
        """Name and content of each shard: what was derived from another content is not used."""
        crcs = self["shard_crc32"].tolist()
        return tuple(f"{name} {crc:08x}" for name, crc in zip(self.shard_names, crcs, strict=True))

    @cached_property
    def number_of(self) -> NumberOf:
        """Video id -> its number."""
        return NumberOf(self.ids)

    @cached_property
    def first_rows(self) -> np.ndarray:
        """int64 [S + 1]: where each shard begins among all rows."""
        return np.concatenate([[0], np.cumsum(self["shard_rows"])])

    @cached_property
    def first_videos(self) -> np.ndarray:
        """int64 [S + 1]: where each shard begins among the videos of all shards, superseded ones too."""
        return np.concatenate([[0], np.cumsum(self["shard_videos"])])

    @cached_property
    def blocks(self) -> list[Rows]:
        """Per shard its features, float16 [rows, dim], mapped where that can be; no header is read."""
        dim, starts = self.config.backbone.dim, self["features_at"].tolist()
        return [
            Rows(self.files[shard], np.dtype("<f2"), (rows, dim), starts[shard], is_mapped=True)
            for shard, rows in enumerate(self["shard_rows"].tolist())
        ]

    def features(self, video: int) -> np.ndarray:
        """float16 [num_frames, dim] of one video, not normalised."""
        shard, rows = self._rows(video)
        return self.blocks[shard][rows]

    def timestamps(self, video: int) -> np.ndarray:
        """float32 [num_frames], seconds from the start of the video."""
        shard, rows = self._rows(video)
        shape, start = (int(self["shard_rows"][shard]),), int(self["timestamps_at"][shard])
        return Rows(self.files[shard], np.dtype("<f4"), shape, start)[rows]

    def all_timestamps(self) -> np.ndarray:
        """float32 [R], of the rows of all shards one after the other."""
        starts = self["timestamps_at"].tolist()
        rows = enumerate(self["shard_rows"].tolist())
        parts = [Rows(self.files[shard], np.dtype("<f4"), (num,), starts[shard])[:] for shard, num in rows]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def duration(self, video: int) -> float | None:
        """Seconds; None where it is not known."""
        seconds = float(self["duration_seconds"][video])
        return None if np.isnan(seconds) else seconds

    def twins(self, video: int) -> list[int]:
        """All videos of the same content, in their order, itself included."""
        if not self["fingerprint"][video]:  # imported: nobody knows the file
            return [video]
        alike = self._of_fingerprint(self["fingerprint"][video])
        contents, content = self["content"][alike], self["content"][video]
        is_same = (contents == content) | (contents == 0) | (content == 0)
        found: list[int] = alike[is_same & (self["num_bytes"][alike] == self["num_bytes"][video])].tolist()
        return found

    def sort_twins(self) -> None:
        """Make `twins` look up what it compares with all videos otherwise: worth it for who asks for many."""
        order = np.argsort(self["fingerprint"], kind="stable")
        self.__dict__["_sorted_fingerprints"] = self["fingerprint"][order], order

    def _of_fingerprint(self, fingerprint: int) -> np.ndarray:
        known: tuple[np.ndarray, np.ndarray] | None = self.__dict__.get("_sorted_fingerprints")
        if known is None:
            return np.flatnonzero(self["fingerprint"] == fingerprint)
        first, last = (np.searchsorted(known[0], fingerprint, side) for side in ("left", "right"))
        return known[1][first:last]

    def _rows(self, video: int) -> tuple[int, slice]:
        shard = int(self["video_shard"][video])
        first = int(self.first_rows[shard])
        return shard, slice(int(self["start"][video]) - first, int(self["stop"][video]) - first)

    @cached_property
    def files(self) -> list[PartFile]:
        """The shards, open: they can be read on when `vtr store compact` deletes them."""
        allow_open_files(FILES_PER_SHARD * len(self.shard_names))
        return [PartFile(self.store / SHARD_FOLDER / name) for name in self.shard_names]
