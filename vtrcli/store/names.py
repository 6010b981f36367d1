"""Many strings as two arrays, so that opening them costs nothing until one is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Names(Sequence[str]):
    """Strings packed as UTF-8 (lone surrogates allowed): `body` uint8 [num_bytes], `offsets` int64 [num_names + 1]."""

    def __init__(self, body: np.ndarray, offsets: np.ndarray) -> None:
        self.body, self.offsets = body, offsets

    @classmethod
    def pack(cls, names: Iterable[str]) -> Names:
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
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return _text(self.body[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def all(self) -> list[str]:
        """Every string; much faster than one at a time."""
        body, edges = self.body.tobytes(), self.offsets.tolist()
        return [_text(body[start:stop]) for start, stop in itertools.pairwise(edges)]


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # a damaged file: what is shown then is no file's name
        return body.decode("utf-8", "replace")
