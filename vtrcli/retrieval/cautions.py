"""What a user must be told about a result before quoting it. Sentences only; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

from vtrcli.retrieval.methods import COSINE_LOGIT_SCALE, METHODS, Settings
from vtrcli.retrieval.metrics import Direction
from vtrcli.retrieval.scores import ScoreSource
from vtrcli.retrieval.truth import Truth


def cautions(
    truth: Truth,
    settings: Settings,
    *,
    banks: Mapping[Direction, ScoreSource],
    logit_scale: float,
    bound: float,
) -> tuple[str, ...]:
    """Sentences about left-out queries, a small bank, a scale that makes a correction idle."""
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
    return tuple(found)


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
