"""One source, one truth, one method -> rank counts. The input has been checked: `evaluate` and `arrivals` do that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vtrcli.ranking.arrays import Arrays
from vtrcli.ranking.counting import RankCounts, count_ranks
from vtrcli.ranking.methods import Settings
from vtrcli.ranking.metrics import Direction
from vtrcli.ranking.rerank import plan_corrections
from vtrcli.ranking.scores import ScoreSource, TakenTexts
from vtrcli.ranking.tiles import Tiles
from vtrcli.ranking.truth import Truth


@dataclass(frozen=True)
class Workplace:
    """Where the tiles lie and how large they are."""

    arrays: Arrays
    edge: int

    def tiles(self, source: ScoreSource) -> Tiles:
        """The source, cut up."""
        return Tiles(source, arrays=self.arrays, edge=self.edge)


def rank(
    source: ScoreSource,
    truth: Truth,
    settings: Settings,
    *,
    logit_scale: float,
    workplace: Workplace,
    directions: Sequence[Direction] = ("t2v", "v2t"),
    banks: Mapping[Direction, ScoreSource] | None = None,
    over_videos: bool = False,
    groups: np.ndarray | None = None,
) -> dict[Direction, RankCounts]:
    """Count ranks for `directions`; queries in the order of the truth's texts and of its `videos_with_text`.

    Args:
        over_videos: for v2t rank videos, each by its best text, instead of texts; every text has one video then.
        groups: for t2v int64 [num_videos], equal numbers side by side: videos that count as one (used with the
            scores transposed, where they are the texts of a video).
        banks: scores of other queries with the same items, per direction; without one the test queries are
            their own bank.
    """
    order = truth.texts_by_video()
    in_order = bool((order[1:] > order[:-1]).all())
    if not in_order:
        source, truth = TakenTexts(source, order), truth.take_texts(order)
    tiles = workplace.tiles(source)
    banks_of: dict[Direction, Tiles] = {}
    for direction in directions:
        bank = (banks or {}).get(direction)
        if bank is not None and direction == "v2t" and not in_order:
            bank = TakenTexts(bank, order)
        banks_of[direction] = tiles if bank is None else workplace.tiles(bank)
    plan = plan_corrections(tiles, settings, logit_scale=logit_scale, banks=banks_of)
    groups_of: dict[Direction, np.ndarray] = {}
    if over_videos:
        groups_of["v2t"] = truth.video_index
    if groups is not None:
        groups_of["t2v"] = groups
    counts = count_ranks(tiles, truth, plan, groups_of)
    if "t2v" in counts and not in_order:
        back = np.argsort(order)
        t2v = counts["t2v"]
        counts["t2v"] = RankCounts(t2v.num_above[back], t2v.num_tied[back])
    return counts
