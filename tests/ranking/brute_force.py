"""Definitions written as plainly as possible, in float64, to hold the fast code to. Nothing is shared with it."""

from __future__ import annotations

import numpy as np


def rank_of(scores: np.ndarray, correct: set[int], *, tied_before: float) -> float:
    """Rank of the best correct item of one query, item by item."""
    best = max(scores[item] for item in correct)
    above = sum(1 for item, score in enumerate(scores) if item not in correct and score > best)
    level = sum(1 for item, score in enumerate(scores) if item not in correct and score == best)
    return 1 + above + tied_before * level


def ranks(scores: np.ndarray, correct: list[set[int]], *, tied_before: float) -> np.ndarray:
    """scores [num_queries, num_items]; queries without a correct item are left out."""
    return np.array(
        [
            rank_of(row, items, tied_before=tied_before)
            for row, items in zip(scores, correct, strict=True)
            if items
        ]
    )


def ranks_over_videos(scores: np.ndarray, video_of_text: np.ndarray, *, tied_before: float) -> np.ndarray:
    """v2t as CLIP4Clip's and X-CLIP's code counts it, from [num_texts, num_videos]: a video's captions are put into one
    row padded with -inf, the best is taken, and the videos are ranked."""
    asked = np.unique(video_of_text)
    best = np.array([[scores[video_of_text == other, video].max() for other in asked] for video in asked])
    return ranks(best, [{place} for place in range(len(asked))], tied_before=tied_before)


def corrected(
    scores: np.ndarray,
    method: str,
    *,
    bank: np.ndarray | None = None,
    scale: float = 100.0,
    temperature: float = 1.0,
    k: int = 1,
    alpha: float = 0.25,
    num_rounds: int = 10,
) -> np.ndarray:
    """Corrected scores [num_queries, num_items] from [num_queries, num_items] and a bank [num_bank, num_items].

    Item by item from the formulas of the papers, as products of probabilities where they are products.
    """
    scores = scores.astype(np.float64)
    own_bank = bank is None
    bank = scores if bank is None else bank.astype(np.float64)
    weights, bank_weights = (np.exp(scale / temperature * x) for x in (scores, bank))
    over_queries = bank_weights.sum(axis=0)
    nearest = np.sort(bank, axis=0)[::-1][:k].mean(axis=0)
    if method == "none":
        return scores
    if method == "inverted-softmax":
        return weights / over_queries
    if method == "dsl":
        return scale * scores * weights / (over_queries if own_bank else over_queries + weights)
    if method == "mutual-softmax":
        return weights / over_queries * weights / weights.sum(axis=1, keepdims=True)
    if method == "csls":
        own = np.sort(scores, axis=1)[:, ::-1][:, :k].mean(axis=1)
        return 2 * scores - own[:, None] - nearest
    if method == "nnn":
        return scores - alpha * nearest
    if method == "sinkhorn":
        by_item = np.ones(bank.shape[1])
        by_query = np.ones(len(bank))
        for _ in range(num_rounds):
            by_item = 1 / (bank_weights * by_query[:, None]).sum(axis=0)
            by_query = 1 / (bank_weights * by_item).sum(axis=1)
        return weights * by_item
    assert method == "qb-norm"
    hubs = {int(item) for row in bank for item in np.argsort(-row)[:k]}
    activated = np.array([int(np.argmax(row)) in hubs for row in scores])
    return np.where(activated[:, None], weights / over_queries, scores)
