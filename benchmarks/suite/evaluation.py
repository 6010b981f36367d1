"""Ranks in both directions: counted in blocks, beside the whole matrix sorted."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import torch
from evaluate import PRODUCT_EDGES, by_sorting, vectors

from suite.measure import Row, Way, take_turns
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.scores import VectorScores
from vtrcli.ranking.truth import Truth

DIM = 512


def rows(options: Namespace) -> Iterator[Row]:
    num = options.texts
    texts, videos = vectors(num, DIM)
    source, truth = VectorScores(texts, videos), Truth.diagonal((num, num))
    left, right = torch.from_numpy(texts), torch.from_numpy(videos)

    def product() -> None:
        edge = PRODUCT_EDGES[0]
        for row in range(0, num, edge):
            for column in range(0, num, edge):
                torch.mm(left[row : row + edge], right[column : column + edge].T)

    def ours() -> None:
        evaluate(source, truth, num_bootstrap=0)

    peers: dict[str, Way] = {
        "NumPy, the matrix sorted once and compared (CLIP4Clip)": lambda: by_one_sort(texts, videos),
        "NumPy, the matrix sorted twice": lambda: by_sorting(texts, videos),
        "torch.sort of the matrix": lambda: by_torch_sort(left, right),
        "torch.topk of 10, which gives R@k alone": lambda: by_topk(left, right),
    }
    check(source, truth, texts, videos)
    found = take_turns(
        {"evaluate": ours, "the product alone": product, **peers}, rounds=min(3, options.rounds)
    )
    yield Row(
        f"rank {num:,} texts and {num:,} videos of {DIM} numbers, both directions",
        found["evaluate"],
        [found[name] for name in peers],
        found["the product alone"],
        notes=[
            "the same mean ranks, checked first; each peer holds the whole matrix in memory, vtr blocks of it"
        ],
    )


def by_one_sort(texts: np.ndarray, videos: np.ndarray) -> tuple[float, float]:
    """Mean ranks as CLIP4Clip finds them: each row sorted, then where the right score stands in it."""
    scores = texts @ videos.T
    means = []
    for matrix in (scores, scores.T):
        places = np.where(np.sort(-matrix, axis=1) == -np.diag(matrix)[:, None])[1]
        means.append(float(places.mean()) + 1)
    return means[0], means[1]


def by_torch_sort(texts: torch.Tensor, videos: torch.Tensor) -> tuple[float, float]:
    """Mean ranks by the order of each row."""
    scores = texts @ videos.T
    right = torch.arange(len(scores))[:, None]
    means = []
    for matrix in (scores, scores.T):
        order = torch.sort(matrix, dim=1, descending=True).indices
        means.append(float((order == right).nonzero()[:, 1].float().mean()) + 1)
    return means[0], means[1]


def by_topk(texts: torch.Tensor, videos: torch.Tensor) -> tuple[float, float]:
    """R@10 of both directions."""
    scores = texts @ videos.T
    right = torch.arange(len(scores))[:, None]
    shares = [
        float((torch.topk(matrix, min(10, len(matrix)), dim=1).indices == right).any(1).float().mean())
        for matrix in (scores, scores.T)
    ]
    return shares[0], shares[1]


def check(source: VectorScores, truth: Truth, texts: np.ndarray, videos: np.ndarray) -> None:
    """All ways find the same mean ranks, where the right scores have no equals."""
    evaluated = evaluate(source, truth, num_bootstrap=0)
    assert evaluated.v2t is not None
    ours = [evaluated.t2v.mean_rank, evaluated.v2t.mean_rank]
    left, right = torch.from_numpy(texts), torch.from_numpy(videos)
    for found in (by_one_sort(texts, videos), by_torch_sort(left, right)):
        assert np.allclose(ours, found, atol=0.01), f"the ways differ: {ours}, {found}"
