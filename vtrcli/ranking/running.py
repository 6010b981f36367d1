"""Statistics per text or per video that are collected tile by tile.

`axis` 0 runs over the texts and gives one value per video, axis 1 over the videos and gives one per text.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np

from vtrcli.ranking.tiles import Tile, Tiles

Axis = Literal[0, 1]


class Statistic(Protocol):
    """Collects something of every tile."""

    def update(self, tile: Tile) -> None:
        """Take in one tile; its scores must not be changed."""


def collect(tiles: Tiles, *statistics: Statistic) -> None:
    """One pass over the source for all statistics."""
    for tile in tiles:
        for statistic in statistics:
            statistic.update(tile)


def spread(axis: Axis, values: Any) -> Any:
    """Values of the items that remain when `axis` is reduced, shaped to meet a whole tile."""
    return values[None, :] if axis == 0 else values[:, None]


class LogSumExp:
    """log of the sum of exp(scale x score - minus) over `axis`; float32 or float64, as the scores.

    The sums are float64 and relative to the largest term, so that a single term gives itself exactly and the grid
    does not show. `minus` has one value per item of the reduced axis (Sinkhorn's other potential).
    """

    def __init__(self, tiles: Tiles, axis: Axis, *, scale: float, minus: Any = None) -> None:
        self._xp, self._axis, self._scale, self._minus = tiles.arrays.xp, axis, scale, minus
        size = tiles.shape[1 - axis]
        self._maximum = tiles.arrays.put(np.full(size, -np.inf, tiles.dtype))
        self._sum = tiles.arrays.put(np.zeros(size))

    def update(self, tile: Tile) -> None:
        """Add the terms of one tile."""
        xp, axis = self._xp, self._axis
        place, reduced = _places(axis, tile)
        logits = tile.scores * self._scale
        if self._minus is not None:
            logits -= spread(_other(axis), self._minus[reduced])
        before = self._maximum[place]
        maximum = xp.maximum(before, xp.amax(logits, axis))
        top = _or_zero(xp, maximum)  # nothing but padding so far: -inf - -inf would be NaN
        logits -= spread(axis, top)
        terms = xp.exp(logits, out=logits).sum(axis, dtype=xp.float64)
        self._sum[place] = self._sum[place] * xp.exp(xp.asarray(before - top, dtype=xp.float64)) + terms
        self._maximum[place] = maximum

    def result(self) -> Any:
        """[num_videos] for axis 0, [num_texts] for axis 1; 0 for items that have nothing but padding (-inf)."""
        log_sum = self._xp.log(self._xp.where(self._sum > 0, self._sum, self._xp.ones_like(self._sum)))
        return _or_zero(self._xp, self._maximum) + self._xp.asarray(log_sum, dtype=self._maximum.dtype)


class TopMean:
    """Mean of the k largest scores over `axis`, for fewer than k scores of all; and the smallest of the k."""

    def __init__(self, tiles: Tiles, axis: Axis, *, k: int) -> None:
        self._arrays, self._axis = tiles.arrays, axis
        self._k = min(k, tiles.shape[axis])
        size = tiles.shape[1 - axis]
        shape = (self._k, size) if axis == 0 else (size, self._k)
        self._top = tiles.arrays.put(np.full(shape, -np.inf, tiles.dtype))

    def update(self, tile: Tile) -> None:
        """Merge the largest of one tile with those before."""
        axis = self._axis
        place = (slice(None), tile.videos) if axis == 0 else (tile.texts, slice(None))
        k = min(self._k, tile.scores.shape[axis])
        both = (self._top[place], self._arrays.largest(tile.scores, k, axis))
        self._top[place] = self._arrays.largest(self._arrays.xp.concatenate(both, axis), self._k, axis)

    def result(self) -> Any:
        """[num_videos] for axis 0, [num_texts] for axis 1; over those of the k that are no padding, 0 for none."""
        # Sorted, so that the sum does not depend on the order of arrival.
        ordered = self._arrays.xp.sort(self._top, self._axis)
        values = ordered if isinstance(ordered, np.ndarray) else ordered.values
        scored = values > -np.inf
        if bool(scored.all()):
            return values.mean(self._axis)
        num_scored = scored.sum(self._axis)
        total = _or_zero(self._arrays.xp, values).sum(self._axis)
        return total / self._arrays.xp.asarray(num_scored + (num_scored == 0), dtype=total.dtype)

    def smallest(self) -> Any:
        """The k-th largest: [num_videos] for axis 0, [num_texts] for axis 1."""
        return self._arrays.xp.amin(self._top, self._axis)


class Largest:
    """The largest score over `axis` among the items of that axis that `only` (bool) allows; -inf for none."""

    def __init__(self, tiles: Tiles, axis: Axis, *, only: Any = None) -> None:
        self._xp, self._axis = tiles.arrays.xp, axis
        size = tiles.shape[axis]
        self._penalty = tiles.arrays.put(np.zeros(size, tiles.dtype))
        if only is not None:
            self._penalty[~only] = np.inf
        self._maximum = tiles.arrays.put(np.full(tiles.shape[1 - axis], -np.inf, tiles.dtype))

    def update(self, tile: Tile) -> None:
        """Compare with one tile."""
        place, reduced = _places(self._axis, tile)
        allowed = tile.scores - spread(_other(self._axis), self._penalty[reduced])
        largest = self._xp.amax(allowed, self._axis)
        self._maximum[place] = self._xp.maximum(self._maximum[place], largest)

    def result(self) -> Any:
        """[num_videos] for axis 0, [num_texts] for axis 1."""
        return self._maximum


class AnyAtLeast:
    """Does any score over `axis` reach the threshold of its own item of that axis?"""

    def __init__(self, tiles: Tiles, axis: Axis, *, thresholds: Any) -> None:
        self._axis, self._thresholds = axis, thresholds
        self._found = tiles.arrays.put(np.zeros(tiles.shape[1 - axis], np.bool_))

    def update(self, tile: Tile) -> None:
        """Look through one tile."""
        place, reduced = _places(self._axis, tile)
        reached = tile.scores >= spread(_other(self._axis), self._thresholds[reduced])
        self._found[place] |= reached.any(self._axis)

    def result(self) -> Any:
        """bool [num_videos] for axis 0, [num_texts] for axis 1."""
        return self._found


def _or_zero(xp: Any, values: Any) -> Any:
    """`values` with 0 in the place of -inf."""
    return xp.where(values > -np.inf, values, xp.zeros_like(values))


def _places(axis: Axis, tile: Tile) -> tuple[slice, slice]:
    """Where the tile lies among the items that remain, and among those that `axis` reduces."""
    return (tile.videos, tile.texts) if axis == 0 else (tile.texts, tile.videos)


def _other(axis: Axis) -> Axis:
    return 1 if axis == 0 else 0
