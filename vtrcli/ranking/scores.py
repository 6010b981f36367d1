"""Where similarities come from: a matrix (in memory or mapped from disk) or two sets of vectors. Read tile by tile.

A block holds the same numbers whatever its size and position: only so do equal items tie and is a rank
the same for every memory limit. For the products see `VectorScores.block`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vtrcli.errors import InputError, UsageError

Index = slice | np.ndarray
DEFAULT_MEMORY_BYTES = 1 << 30
# MKL's kernels for narrow products add in another order than those for wide ones (measured: below about 32 rows or
# columns); padding to a multiple of this keeps every product away from them.
_PAD = 64
# Larger products are no faster; on a busy machine smaller ones are much slower (measured: 512 takes three times
# as long as 2048 with a load of 7 on two cores, and as long without).
_PREFERRED_EDGE = 2048
_SMALLEST_EDGE = 64
# Arrays of one block that are alive at once, operands and masks included.
_BLOCKS_ALIVE = 8
# Products are made in large squares, because each costs a round of waiting for all threads; they are handed out in
# strips that stay in the cache while they are compared and summed.
_STRIP_ITEMS = 1 << 19


class ScoreSource(Protocol):
    """Similarities of texts (rows) and videos (columns); larger is more similar. What is ranked are the columns, for
    each row: the other direction is `Transposed`.

    `shape` is (num_texts, num_videos), `dtype` the precision of the blocks: float32 or float64. A block may be computed
    anywhere, also on a GPU; it is handed over as a NumPy array.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def block(self, texts: Index, videos: Index) -> np.ndarray:
        """[texts, videos] in `dtype`; not to be written to."""

    def bound(self) -> float:
        """No score is larger than this, either way, but for -inf: padding, which is nobody's answer. Goes over the
        source once.

        Raises:
            InputError: a score is, or may become, NaN or infinite; names the row.
        """


class DenseScores:
    """A similarity matrix, float [num_texts, num_videos]; a `numpy.memmap` is read by blocks and never held."""

    def __init__(self, matrix: np.ndarray) -> None:
        check_matrix(matrix)
        self._matrix = matrix
        self.shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1])
        self.dtype = np.promote_types(matrix.dtype, np.float32)

    def block(self, texts: Index, videos: Index) -> np.ndarray:
        """[texts, videos] in `dtype`."""
        if isinstance(texts, np.ndarray) and isinstance(videos, np.ndarray):
            texts = texts[:, None]
        return np.asarray(fresh(self._matrix)[texts, videos], self.dtype)

    def bound(self, *, padding: bool = True) -> float:
        """The largest absolute score; InputError for NaN or infinity, and for -inf too without `padding`."""
        largest = 0.0
        rows_at_once = max(1, 2**20 // self.shape[1])
        for start in range(0, self.shape[0], rows_at_once):
            block = fresh(self._matrix)[start : start + rows_at_once]
            extremes = float(block.min()), float(block.max())
            if not np.isfinite(extremes).all():
                wrong = ~np.isfinite(block) & ~(padding & np.isneginf(block))
                if wrong.any():
                    row, column = (int(i) for i in np.argwhere(wrong)[0])
                    where = f"row {start + row} of the similarity matrix"
                    raise _not_finite(where, block[row, column], block.dtype, column=column)
                extremes = float(block.min(where=block > -np.inf, initial=0)), max(0.0, extremes[1])
            largest = max(largest, -extremes[0], extremes[1])
        return largest

    def require_scored(self, texts: np.ndarray, videos: np.ndarray) -> None:
        """Raises InputError when a pair (int64 [num_pairs] each) has -inf: a right answer cannot be padding."""
        unscored = np.flatnonzero(np.isneginf(fresh(self._matrix)[texts, videos]))
        if unscored.size:
            raise InputError(
                f"row {texts[unscored[0]]} of the similarity matrix holds -infinity at column {videos[unscored[0]]}, "
                "where its own video is",
                allowed="-infinity marks padding, which no right answer can be",
                to_do="check that rows and columns stand in the order of the mapping",
            )


class VectorScores:
    """Inner products of text_vectors [num_texts, dim] and video_vectors [num_videos, dim], float16 to float64.

    With rows of length 1 they are cosines. Products are float32, or float64 if an input is.
    """

    def __init__(self, text_vectors: np.ndarray, video_vectors: np.ndarray) -> None:
        check_matrix(text_vectors)
        check_matrix(video_vectors)
        if text_vectors.shape[1] != video_vectors.shape[1]:
            raise InputError(
                f"text vectors of length {text_vectors.shape[1]} and video vectors of length {video_vectors.shape[1]}",
                allowed="both must have the same length",
                to_do="use vectors of the same model and head",
            )
        self._texts, self._videos = text_vectors, video_vectors
        self.shape: tuple[int, int] = (len(text_vectors), len(video_vectors))
        self.dtype = np.promote_types(np.promote_types(text_vectors.dtype, video_vectors.dtype), np.float32)

    def block(self, texts: Index, videos: Index) -> np.ndarray:
        """[texts, videos] in `dtype`.

        Always torch's product, of padded operands. NumPy's OpenBLAS gives the columns of identical vectors
        different last bits depending on where they stand, which breaks ties; MKL does not
        (tests/ranking/test_scores.py holds it to that).
        """
        import torch

        left, num_rows = self._operand(self._texts[texts])
        right, num_columns = self._operand(self._videos[videos])
        return np.asarray(torch.mm(left, right.T).numpy()[:num_rows, :num_columns])

    def _operand(self, rows: np.ndarray) -> tuple[Any, int]:
        """Rows as a tensor in `dtype`, padded with zero rows, and how many there were."""
        import torch

        # torch warns of read-only memory, such as that of a mapped file; `W` copies it.
        tensor = torch.as_tensor(np.require(rows, self.dtype, ["C", "W"]))
        padding = -len(rows) % _PAD
        return (torch.nn.functional.pad(tensor, (0, 0, 0, padding)) if padding else tensor), len(rows)

    def bound(self) -> float:
        """The product of the longest text and video vector; InputError for NaN or infinity."""
        longest = 1.0
        for kind, vectors in (("text", self._texts), ("video", self._videos)):
            squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
            bad = np.flatnonzero(~np.isfinite(squares))
            if bad.size:
                values = vectors[bad[0]]
                raise _not_finite(
                    f"row {bad[0]} of the {kind} vectors", values[~np.isfinite(values)], vectors.dtype
                )
            longest *= float(squares.max()) ** 0.5
        if longest > float(np.finfo(self.dtype).max):
            raise _not_finite("the largest inner product", np.inf, self.dtype)
        return longest


class TakenTexts:
    """Some texts of another source, in the order of `texts` (int64)."""

    def __init__(self, source: ScoreSource, texts: np.ndarray) -> None:
        self._source, self._texts = source, texts
        self.shape: tuple[int, int] = (len(texts), source.shape[1])
        self.dtype = source.dtype

    def block(self, texts: Index, videos: Index) -> np.ndarray:
        """[texts, videos]."""
        return self._source.block(self._texts[texts], videos)

    def bound(self) -> float:
        """That of the source."""
        return self._source.bound()


class Transposed:
    """Another source with videos as rows and texts as columns."""

    def __init__(self, source: ScoreSource) -> None:
        self._source = source
        self.shape: tuple[int, int] = (source.shape[1], source.shape[0])
        self.dtype = source.dtype

    def block(self, texts: Index, videos: Index) -> np.ndarray:
        """[videos of the source, texts of the source]."""
        return self._source.block(videos, texts).T

    def bound(self) -> float:
        """That of the source."""
        return self._source.bound()


@dataclass(frozen=True)
class Tile:
    """`scores` [rows, columns] of two ranges of a source; not to be written to."""

    rows: slice
    columns: slice
    scores: np.ndarray


def square(source: ScoreSource, row: int, column: int, *, edge: int) -> Tile:
    """The tile at this place of a grid of squares."""
    rows, columns = _range(row, edge, source.shape[0]), _range(column, edge, source.shape[1])
    return Tile(rows, columns, source.block(rows, columns))


def tiles(source: ScoreSource, *, edge: int) -> Iterator[Tile]:
    """The whole source in strips of the squares; for each row the columns come in their order."""
    for row in range(-(-source.shape[0] // edge)):
        for column in range(-(-source.shape[1] // edge)):
            yield from _strips(square(source, row, column, edge=edge), max(1, _STRIP_ITEMS // edge))


def _strips(tile: Tile, size: int) -> Iterator[Tile]:
    """Strips along the axis that is the slow one in memory: the second one if the source was transposed."""
    by_row = tile.scores.strides[0] >= tile.scores.strides[1]
    whole = tile.rows if by_row else tile.columns
    for start in range(whole.start, whole.stop, size):
        part = slice(start, min(start + size, whole.stop))
        within = slice(part.start - whole.start, part.stop - whole.start)
        if by_row:
            yield Tile(part, tile.columns, tile.scores[within])
        else:
            yield Tile(tile.rows, part, tile.scores[:, within])


def tile_edge(source: ScoreSource, *, memory_bytes: int) -> int:
    """Rows and columns of a square: the largest power of two that keeps the blocks alive within `memory_bytes`.

    Raises:
        UsageError: not even the smallest block fits.
    """
    item_bytes = source.dtype.itemsize
    edge = _PREFERRED_EDGE
    while edge >= _SMALLEST_EDGE and _BLOCKS_ALIVE * edge * edge * item_bytes > memory_bytes:
        edge //= 2
    if edge < _SMALLEST_EDGE:
        smallest = _BLOCKS_ALIVE * _SMALLEST_EDGE**2 * item_bytes
        raise UsageError(
            f"a memory limit of {memory_bytes} bytes",
            allowed=f"the smallest block needs {smallest} bytes",
            to_do="raise the limit",
        )
    return edge


def held(source: ScoreSource, *, edge: int, memory_bytes: int) -> ScoreSource:
    """The same scores as a matrix where it and the blocks in work fit in `memory_bytes`; the source itself if not.

    What is not held is computed once for each direction and once more for each pass of a correction.
    """
    num_items = source.shape[0] * source.shape[1] + _BLOCKS_ALIVE * edge * edge
    if isinstance(source, DenseScores) or num_items * source.dtype.itemsize > memory_bytes:
        return source
    matrix = np.empty(source.shape, source.dtype)
    for row in range(-(-source.shape[0] // edge)):
        for column in range(-(-source.shape[1] // edge)):
            tile = square(source, row, column, edge=edge)
            matrix[tile.rows, tile.columns] = tile.scores
    return DenseScores(matrix)


def as_source(scores: ScoreSource | np.ndarray) -> ScoreSource:
    """A bare matrix becomes `DenseScores`."""
    return DenseScores(scores) if isinstance(scores, np.ndarray) else scores


def _range(index: int, edge: int, size: int) -> slice:
    return slice(index * edge, min(size, (index + 1) * edge))


def check_matrix(matrix: np.ndarray) -> None:
    """A float matrix with at least one row and column.

    Raises:
        InputError: another number of dimensions, an empty one, or a dtype that is not floating point.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(
            f"an array of shape {matrix.shape}",
            allowed="similarities and vectors have two dimensions, none of them empty",
            to_do="pass one row per text (or vector) and one column per video (or dimension)",
        )
    if matrix.dtype.kind != "f" or matrix.dtype.itemsize > 8:
        raise InputError(
            f"an array of dtype {matrix.dtype}",
            allowed="float16, float32 or float64 is read",
            to_do="save the scores as floating point numbers (array.astype('float32'))",
        )


def fresh(matrix: np.ndarray) -> np.ndarray:
    """A new mapping of a mapped file: pages read through it are given back when it goes, which keeps the resident
    memory to one block."""
    if not isinstance(matrix, np.memmap) or matrix.filename is None or not matrix.flags.c_contiguous:
        return matrix
    if isinstance(matrix.base, np.memmap):  # a view: its offset is not that of the file
        return matrix
    return np.memmap(matrix.filename, dtype=matrix.dtype, mode="r", offset=matrix.offset, shape=matrix.shape)


def _not_finite(where: str, value: Any, dtype: np.dtype[Any], *, column: int | None = None) -> InputError:
    is_nan = bool(np.isnan(value).any())
    at = "" if column is None else f" at column {column}"
    advice = "find out which text or video has no valid features"
    if not is_nan and dtype == np.float16:
        advice = "half precision ends at 65504: save the scores as float32, before scaling them"
    return InputError(
        f"{where} holds {'NaN' if is_nan else 'infinity'}{at}",
        allowed="every score must be finite: a rank among NaN means nothing",
        to_do=advice,
    )
