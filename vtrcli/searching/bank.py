"""The query bank of a store: captions that stand for what people ask, so that one live query can be judged by them.

`vtrcli.text.cache.build_bank` makes it. Per video one number per correction is computed once from what the captions
score on it, so that a query costs nothing more. The corrections are those of `vtrcli.ranking.methods` with the bank in
the place of the test queries.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.ranking.methods import (
    CSLS_NEIGHBOURS,
    DEFAULT_ALPHA,
    NNN_NEIGHBOURS,
    Correction,
    largest_scores,
    log_sum_exp,
    mean_of_largest,
)
from vtrcli.ranking.scores import DenseScores
from vtrcli.searching.query import SearchMethod
from vtrcli.searching.scores import Space
from vtrcli.store.catalog import Catalog
from vtrcli.store.config import BANK_NAME, BackboneInfo
from vtrcli.store.derived import TableSpec, current_rows, derived_tables
from vtrcli.store.shard import Shard, damaged
from vtrcli.store.texts import MIN_BANK_TEXTS, TextRows, open_texts
from vtrcli.text.streams import STREAMS

# To be raised with the numbers of a correction, or with the temperature of a pooling.
RULE_VERSION = 1
MAX_SCORES, MAX_FRAMES = 1 << 24, 16_384
_STATISTICS = ("mean", "mean_square", "log_sum_exp", "nnn", "csls")


@dataclass(frozen=True)
class Bank:
    """The captions' features (float16 [num_texts, num_streams, dim]) and what names their content."""

    id: str
    rows: TextRows
    tagger_id: str

    @property
    def num_texts(self) -> int:
        """How many captions it holds."""
        return len(self.rows.mask)


def open_bank(store: Path, backbone: BackboneInfo) -> Bank:
    """The bank of a store.

    Raises:
        StoreError: there is none, it is damaged, or it is of another backbone.
    """
    path = store / BANK_NAME
    if not path.exists():
        raise StoreError(
            f"store {store} has no query bank",
            allowed="a bank of captions, for --dsl, --method and --min-relevance",
            to_do=f"make one with `vtr bank build --texts FILE --store {store}`, or from a data set's captions",
        )
    file = open_texts(path)
    metadata = file.metadata
    if not {"backbone_sha256", "tagger", "crc32"} <= metadata.keys():
        raise damaged(path, "its description is not whole")
    if metadata["backbone_sha256"] != backbone.sha256:
        raise StoreError(
            f"{path} is a bank of another backbone (weights {metadata['backbone_sha256'][:12]})",
            allowed=f"a bank of the store's own (weights {backbone.sha256[:12]})",
            to_do=f"build it again with `vtr bank build --store {store}`",
        )
    for stream in STREAMS:
        file.require(stream, "F16", (None, backbone.dim))
    features = np.stack([file.tensor(stream) for stream in STREAMS], axis=1)
    if len(features) < MIN_BANK_TEXTS or not np.isfinite(features).all():
        raise damaged(path, "its captions are too few, or their features not finite")
    name = hashlib.sha256(metadata["crc32"].encode()).hexdigest()[:16]
    rows = TextRows(features, file.tensor("mask").astype(bool))
    return Bank(name, rows, metadata["tagger"])


@dataclass(frozen=True)
class BankScores:
    """Per current video, float32 [num_videos], over the captions of the bank: mean and mean square of the scores, log
    of the sum of exp(logit_scale x score), means of the best that nnn and csls look at."""

    logit_scale: float
    num_texts: int
    statistics: dict[str, np.ndarray]

    def correct(self, method: SearchMethod, scores: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """What to rank by: rises with the score. `scores` [n] of the videos [n]."""
        return self._corrections[method].of_pairs(scores, np.zeros(len(scores), int), videos)

    @cached_property
    def _corrections(self) -> dict[SearchMethod, Correction]:
        scale, log_sum = self.logit_scale, self.statistics["log_sum_exp"]
        return {
            "nnn": Correction(bias=DEFAULT_ALPHA * self.statistics["nnn"]),
            "csls": Correction(factor=2.0, bias=self.statistics["csls"]),
            "inverted-softmax": Correction(factor=scale, bias=log_sum),
            "dsl": Correction(factor=scale, bias=log_sum, log_scale=scale, own_query=True),
        }

    def relevance(self, scores: np.ndarray | float) -> np.ndarray:
        """How many standard deviations a score lies above what a caption of the bank scores on a video of the store.

        One mean and one deviation for the whole store: measured against a mean and deviation per video it separates
        right from wrong better, and it cannot contradict the ranking (docs/search.md).
        """
        relevance: np.ndarray = (np.asarray(scores) - self.mean) / self.deviation
        return relevance

    @cached_property
    def mean(self) -> float:
        """What a caption of the bank scores on a video, on average."""
        return float(self.statistics["mean"].mean(dtype=np.float64))

    @cached_property
    def deviation(self) -> float:
        """The standard deviation of those scores; at least a tenth of a logit, which means nothing."""
        variance = float(self.statistics["mean_square"].mean(dtype=np.float64)) - self.mean**2
        return max(0.1 / self.logit_scale, math.sqrt(max(0.0, variance)))


def score_bank(
    catalog: Catalog,
    space: Space,
    bank: Bank,
    *,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> BankScores:
    """What the captions of a bank score on the videos of a store; only shards that have none yet are computed."""
    spec = TableSpec(
        name=f"bank-{bank.id}-{space.key}",
        tensors={name: ("F32", None) for name in _STATISTICS},
        version=RULE_VERSION,
    )
    encoded: list[np.ndarray] = []

    def compute(shard: Shard) -> dict[str, np.ndarray]:
        if not encoded:  # not before a shard needs them
            encoded.append(space.bank_vectors(bank.rows))
        parts = [
            statistics(space.score_part(shard, videos, encoded[0]), logit_scale=space.logit_scale)
            for videos in _groups(shard, num_texts=len(encoded[0]))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in _STATISTICS}

    tables = derived_tables(catalog, spec, compute, on_progress=on_progress)
    rows = current_rows(catalog)
    found = {name: np.concatenate([table[name] for table in tables])[rows] for name in _STATISTICS}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise StoreError(
            f"{catalog.store}/index/{spec.name} holds numbers that are not finite",
            allowed="a derived table as a search writes it",
            to_do="delete that folder: it is made again",
        )
    return BankScores(space.logit_scale, bank.num_texts, found)


def _groups(shard: Shard, *, num_texts: int) -> list[slice]:
    """Neighbouring videos, so many that neither their frames nor their scores take much memory; at least one."""
    max_videos = max(1, MAX_SCORES // num_texts)
    offsets, groups, first = shard.offsets, [], 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + MAX_FRAMES, side="right")) - 1
        stop = max(first + 1, min(last, first + max_videos))
        groups.append(slice(first, stop))
        first = stop
    return groups


def statistics(scores: np.ndarray, *, logit_scale: float) -> dict[str, np.ndarray]:
    """Scores float32 [num_videos, num_texts] -> the numbers of `BankScores`, [num_videos] each."""
    bank, edge = DenseScores(scores.T), max(scores.shape)
    best = DenseScores(largest_scores(bank, max(NNN_NEIGHBOURS, CSLS_NEIGHBOURS), edge=edge))
    return {
        "mean": scores.mean(axis=1),
        "mean_square": np.square(scores).mean(axis=1),
        "log_sum_exp": log_sum_exp(bank, logit_scale, edge=edge),
        "nnn": mean_of_largest(best, NNN_NEIGHBOURS, edge=edge),
        "csls": mean_of_largest(best, CSLS_NEIGHBOURS, edge=edge),
    }
