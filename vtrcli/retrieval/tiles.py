"""Goes over a source block by block, in one fixed grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vtrcli.retrieval.arrays import Arrays
from vtrcli.retrieval.scores import ScoreSource


@dataclass(frozen=True)
class Tile:
    """`scores` [texts, videos] of two ranges."""

    texts: slice
    videos: slice
    scores: Any


class Tiles:
    """A source cut into squares of `edge`; the same square always holds the same bits."""

    def __init__(self, source: ScoreSource, *, arrays: Arrays, edge: int) -> None:
        self.arrays = arrays
        self.edge = edge
        self.shape = source.shape
        self.dtype = source.dtype
        self._source = source.on(arrays)

    def tile(self, row: int, column: int) -> Tile:
        """The square at this place of the grid."""
        texts = _range(row, self.edge, self.shape[0])
        videos = _range(column, self.edge, self.shape[1])
        return Tile(texts, videos, self._source.block(texts, videos))

    def __iter__(self) -> Iterator[Tile]:
        for row in range(-(-self.shape[0] // self.edge)):
            for column in range(-(-self.shape[1] // self.edge)):
                yield self.tile(row, column)


def _range(index: int, edge: int, size: int) -> slice:
    return slice(index * edge, min(size, (index + 1) * edge))
