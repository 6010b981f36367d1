"""Cosines of texts with every frame of a store, pooled to one score per video. Works shard by shard, in blocks."""

from __future__ import annotations

from typing import Literal

import numpy as np

from vtrcli.store.reader import FeatureStore, Location

VideoScore = Literal["max", "mean"]
BLOCK_ROWS = 65_536


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """float32 [num_rows, dim] with rows of length 1; a zero row stays zero."""
    rows = vectors.astype(np.float32)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    rows /= np.maximum(norms, np.finfo(np.float32).tiny)
    return rows


def score_videos(
    store: FeatureStore, text_vectors: np.ndarray, *, pooling: VideoScore = "max"
) -> tuple[list[Location], np.ndarray]:
    """Score every current video against every text.

    Args:
        text_vectors: float [num_texts, dim], need not be normalised.
        pooling: `max` over the cosines of a video's frames (finds a moment in a long video), or `mean`: cosine
            with the mean of its normalised frames (the zero-shot convention of the benchmarks).

    Returns:
        The videos, and float32 [num_texts, num_videos] in their order.
    """
    texts = unit_rows(text_vectors)
    videos: list[Location] = []
    blocks: list[np.ndarray] = []
    for shard, locations in store.by_shard():
        for group in _groups(locations):
            start, stop = group[0].start, group[-1].stop
            frames = unit_rows(shard.features[start:stop])
            firsts = [at.start - start for at in group]
            # reduceat runs to the next edge: rows of superseded videos in between begin an edge of their own.
            edges = np.array(sorted({*firsts, *(at.stop - start for at in group if at.stop < stop)}))
            if pooling == "max":
                pooled = np.maximum.reduceat(frames @ texts.T, edges, axis=0)
            else:
                pooled = unit_rows(np.add.reduceat(frames, edges, axis=0)) @ texts.T
            blocks.append(pooled[np.searchsorted(edges, firsts)].T)
            videos += group
    if not videos:
        return [], np.zeros((len(texts), 0), np.float32)
    return videos, np.concatenate(blocks, axis=1)


def _groups(locations: list[Location]) -> list[list[Location]]:
    """Neighbouring videos, about BLOCK_ROWS rows at a time, so that memory stays flat."""
    groups: list[list[Location]] = [[]]
    for location in locations:
        if groups[-1] and location.stop - groups[-1][0].start > BLOCK_ROWS:
            groups.append([])
        groups[-1].append(location)
    return groups
