"""Goes over a source block by block, in one fixed grid.

Products are made in large squares, because each costs a round of waiting for all threads; on the CPU they are handed
out in strips that stay in the cache while they are compared and summed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vtrcli.ranking.arrays import Arrays
from vtrcli.ranking.scores import ScoreSource

_STRIP_ITEMS = 1 << 19


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
                yield from self._strips(self.tile(row, column))

    def _strips(self, tile: Tile) -> Iterator[Tile]:
        size = max(1, _STRIP_ITEMS // self.edge) if self.arrays.kind == "cpu" else self.edge
        for start in range(tile.texts.start, tile.texts.stop, size):
            texts = slice(start, min(start + size, tile.texts.stop))
            rows = slice(texts.start - tile.texts.start, texts.stop - tile.texts.start)
            yield Tile(texts, tile.videos, tile.scores[rows])


def _range(index: int, edge: int, size: int) -> slice:
    return slice(index * edge, min(size, (index + 1) * edge))
