"""`search`: a sentence to ranked videos with their best moments. The use case behind `vtr search`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from vtrcli.errors import InputError, StoreError
from vtrcli.retrieval.frame_scores import VideoScore, score_videos, unit_rows
from vtrcli.retrieval.moments import best_moment
from vtrcli.searching.results import Hit, SearchResult
from vtrcli.searching.towers import open_text_tower
from vtrcli.store.reader import FeatureStore, Location

TOP_K = 10
MAX_QUERY_CHARACTERS = 10_000
QUERY_WAS_CUT = "the query is longer than 77 tokens; CLIP reads only its beginning"


def search(
    query: str,
    *,
    store: Path,
    top_k: int = TOP_K,
    device: str = "auto",
    pooling: VideoScore = "max",
) -> SearchResult:
    """Rank the videos of a store by a sentence, with the store's own backbone (text tower only).

    Raises:
        InputError: an empty or oversized query.
        StoreError: no store, a damaged one, or one without videos.
        WeightsError: the backbone's weights are not there, or are not those that made the store.
    """
    query = require_query(query)
    opened = FeatureStore(store)
    if not opened.videos:
        raise StoreError(
            f"store {store} holds no video yet",
            allowed="a store with at least one video",
            to_do=f"fill it with `vtr extract FOLDER --store {store}`",
        )
    texts = open_text_tower(opened, device=device).encode_texts([query])
    videos, scores = score_videos(opened, texts.features, pooling=pooling)
    require_finite(opened, scores)
    order = rank_best(scores[0], top_k)
    hits = [
        make_hit(rank, opened, videos[index], texts.features[0], float(scores[0, index]))
        for rank, index in enumerate(order, start=1)
    ]
    notes = (QUERY_WAS_CUT,) if texts.num_cut else ()
    return SearchResult(query=query, num_videos=len(videos), hits=tuple(hits), notes=notes)


def require_query(query: str) -> str:
    """The query without surrounding blanks; InputError when nothing or far too much is left."""
    query = query.strip()
    if query and len(query) <= MAX_QUERY_CHARACTERS:
        return query
    raise InputError(
        f"a query of {len(query):,} characters",
        allowed=f"1 to {MAX_QUERY_CHARACTERS:,} characters (CLIP reads the first 77 tokens)",
        to_do='describe the scene in a sentence, such as "a man cooking"',
    )


def require_finite(store: FeatureStore, scores: np.ndarray) -> None:
    """Raises StoreError when features are damaged: NaN would push real answers out of the ranking."""
    if not np.isfinite(scores).all():
        raise StoreError(
            f"store {store.path} holds features that are not finite",
            allowed="features as `vtr extract` writes them",
            to_do="run `vtr store verify --repair`, then `vtr extract` again",
        )


def rank_best(scores: np.ndarray, top_k: int) -> list[int]:
    """Indices of the best `top_k` of float [num_videos], best first; equal scores in the order of the videos."""
    top_k = min(top_k, len(scores))
    if top_k <= 0:
        return []
    threshold = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
    candidates = np.flatnonzero(scores >= threshold)
    order: list[int] = candidates[np.argsort(-scores[candidates], kind="stable")][:top_k].tolist()
    return order


def make_hit(rank: int, store: FeatureStore, video: Location, text_vector: np.ndarray, score: float) -> Hit:
    """The moment of one ranked video; only its own frames are read again."""
    record = video.record
    frames = unit_rows(store.features(record.video_id))
    frame_scores = frames @ unit_rows(text_vector)
    moment = best_moment(frame_scores, store.timestamps(record.video_id), record.duration_seconds)
    return Hit(
        rank=rank,
        video_id=record.video_id,
        path=record.path,
        score=score,
        moments=(moment,),
        is_missing=not os.path.exists(record.path),
    )
