"""Ranks in both directions: counted in blocks, beside the whole matrix sorted."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator

import numpy as np
import torch
from evaluate import PRODUCT_EDGES, by_sorting, vectors

from suite.measure import Row, Way, take_turns
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.scores import VectorScores
from vtrcli.ranking.truth import Truth

DIM = 512
Pair = tuple[float, float]  # text to video, video to text


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

    found: dict[str, Pair] = {}  # what each way found last

    def noted(name: str, way: Callable[[], Pair]) -> Way:
        def run() -> None:
            found[name] = way()

        return run

    def ours() -> Pair:
        evaluated = evaluate(source, truth, num_bootstrap=0)
        assert evaluated.v2t is not None
        found["R@10"] = evaluated.t2v.recall[10], evaluated.v2t.recall[10]
        return evaluated.t2v.mean_rank, evaluated.v2t.mean_rank

    sorts: dict[str, Callable[[], Pair]] = {
        "NumPy, the matrix sorted once and compared (CLIP4Clip)": lambda: by_one_sort(texts, videos),
        "NumPy, the matrix sorted twice": lambda: by_sorting(texts, videos),
        "torch.sort of the matrix": lambda: by_torch_sort(left, right),
    }
    ways = {"evaluate": noted("ours", ours), "the product alone": product}
    ways |= {name: noted(name, way) for name, way in sorts.items()}
    topk = "torch.topk of 10, which gives R@k alone"
    ways[topk] = noted(topk, lambda: by_topk(left, right))
    taken = take_turns(ways, rounds=options.rounds)
    for name in sorts:
        assert np.allclose(found[name], found["ours"], atol=0.01), f"{name} finds others: {found}"
    assert np.allclose(found[topk], found["R@10"], atol=0.05), f"other R@10: {found}"
    yield Row(
        f"rank {num:,} texts and {num:,} videos of {DIM} numbers, both directions",
        taken["evaluate"],
        [taken[name] for name in (*sorts, topk)],
        taken["the product alone"],
        notes=[
            "the same mean ranks and R@10 by all; each peer holds the whole matrix in memory, vtr blocks of it"
        ],
    )


def by_one_sort(texts: np.ndarray, videos: np.ndarray) -> Pair:
    """Mean ranks as CLIP4Clip finds them: each row sorted, then where the right score stands in it."""
    scores = texts @ videos.T
    means = []
    for matrix in (scores, scores.T):
        places = np.where(np.sort(-matrix, axis=1) == -np.diag(matrix)[:, None])[1]
        means.append(float(places.mean()) + 1)
    return means[0], means[1]


def by_torch_sort(texts: torch.Tensor, videos: torch.Tensor) -> Pair:
    """Mean ranks by the order of each row."""
    scores = texts @ videos.T
    right = torch.arange(len(scores))[:, None]
    means = []
    for matrix in (scores, scores.T):
        order = torch.sort(matrix, dim=1, descending=True).indices
        means.append(float((order == right).nonzero()[:, 1].float().mean()) + 1)
    return means[0], means[1]


def by_topk(texts: torch.Tensor, videos: torch.Tensor) -> Pair:
    """R@10 of both directions, in per cent."""
    scores = texts @ videos.T
    right = torch.arange(len(scores))[:, None]
    shares = [
        100 * float((torch.topk(matrix, min(10, len(matrix)), dim=1).indices == right).any(1).float().mean())
        for matrix in (scores, scores.T)
    ]
    return shares[0], shares[1]
