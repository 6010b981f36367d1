"""What a user must be told about a result before quoting it. Sentences only; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

from vtrcli.ranking.methods import (
    CLIP_LOGIT_SPREAD,
    COSINE_LOGIT_SCALE,
    LOGIT_SPREADS,
    METHODS,
    Settings,
)
from vtrcli.ranking.metrics import Direction
from vtrcli.ranking.scores import ScoreSource
from vtrcli.ranking.truth import Truth

# Cosines of rounded vectors pass 1 by a little.
COSINE_TOLERANCE = 1e-3


def cautions(
    truth: Truth,
    settings: Settings,
    *,
    banks: Mapping[Direction, ScoreSource],
    logit_scale: float,
    bound: float,
    spread: float | None,
) -> tuple[str, ...]:
    """Sentences about left-out queries, a small bank, a scale that makes a correction idle.

    Args:
        spread: the deviation of a text's scores (`evaluate.score_spread`) where the logit scale was detected, else
            None.
    """
    found = []
    without_text = truth.num_videos - len(truth.videos_with_text)
    if without_text:
        found.append(f"{without_text} of {truth.num_videos} videos have no text: they are no queries for v2t")
    method = METHODS[settings.method]
    if settings.method == "none":
        return tuple(found)
    found += _bank_sizes(truth, banks)
    if banks and "v2t" not in banks:
        found.append("v2t is left out: the bank holds texts, and correcting v2t needs a bank of videos")
    if settings.method == "qb-norm" and not banks:
        found.append(
            "qb-norm with the test queries as bank is inverted-softmax: the first hit of every query is in the bank"
        )
    if method.uses_temperature and bound <= 1 and logit_scale < COSINE_LOGIT_SCALE / 10:
        found.append(
            f"a logit scale of {logit_scale:g} leaves cosines so close together that the softmax is almost even and"
            f" {settings.method} does little; CLIP's scale is {COSINE_LOGIT_SCALE:g}"
        )
    if method.uses_temperature and spread:
        found += _detected_scale(logit_scale, bound, spread)
    return tuple(found)


def _detected_scale(logit_scale: float, bound: float, spread: float) -> list[str]:
    """What scores that are no cosines of CLIP's spread were taken for."""
    if bound <= 1 + COSINE_TOLERANCE:
        low, high = (value / COSINE_LOGIT_SCALE for value in LOGIT_SPREADS)
        if low <= spread <= high:
            return []
        return [
            f"scores within -1 and 1 are taken as cosines and multiplied by {COSINE_LOGIT_SCALE:g}, but a text's scores"
            f" deviate by {spread:.2g} and CLIP's by about {CLIP_LOGIT_SPREAD / COSINE_LOGIT_SCALE:.2g}:"
            " --logit-scale sets another factor"
        ]
    if logit_scale == 1:
        return [
            f"scores up to {bound:.3g} are no cosines and are taken as logits: --logit-scale multiplies them"
        ]
    return [
        f"scores up to {bound:.3g} are neither cosines nor logits, by their spread: they are multiplied by"
        f" {logit_scale:.3g}, so that they spread as {COSINE_LOGIT_SCALE:g} x CLIP's cosines do; --logit-scale sets"
        " another factor"
    ]


def _bank_sizes(truth: Truth, banks: Mapping[Direction, ScoreSource]) -> list[str]:
    sizes: dict[Direction, tuple[int, int]] = {"t2v": (truth.num_texts, truth.num_videos)}
    if banks:
        sizes = {direction: bank.shape for direction, bank in banks.items()}
    else:
        sizes["v2t"] = (truth.num_texts, truth.num_videos)
    found = []
    for direction, (num_texts, num_videos) in sizes.items():
        queries, items = (num_texts, num_videos) if direction == "t2v" else (num_videos, num_texts)
        query_name, item_name = ("texts", "videos") if direction == "t2v" else ("videos", "texts")
        if queries < items:
            found.append(
                f"{direction}: a bank of {queries} {query_name} for {items} {item_name} is small: many {item_name}"
                " are claimed by no query of the bank, and the correction may do harm"
            )
    return found
