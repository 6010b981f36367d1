"""Validation after each epoch: the plain metrics of `vtr eval` on the validation videos, never a corrected one."""

from __future__ import annotations

from typing import Any

from vtrcli.model.camoe import Camoe
from vtrcli.model.trained_run import encode_texts, encode_videos
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.scores import VectorScores
from vtrcli.ranking.truth import Truth
from vtrcli.training.data import FeatureSet


def validate(camoe: Camoe, features: FeatureSet, *, device: str) -> dict[str, Any]:
    """Metrics per direction, with the keys of `vtr eval --json`."""
    videos = encode_videos(camoe, features.frames, features.frame_mask, device=device)
    texts = encode_texts(camoe, features.texts, features.stream_mask, device=device)
    truth = Truth.from_videos(features.video_of_text, num_videos=len(features.video_ids))
    result = evaluate(VectorScores(texts, videos), truth, num_bootstrap=0)
    directions = {"t2v": result.t2v, "v2t": result.v2t}
    return {name: metrics.to_json() for name, metrics in directions.items() if metrics is not None}


def validation_score(val: dict[str, Any]) -> float:
    """What decides which epoch is kept: the sum of R@1 of both directions (our choice)."""
    return float(sum(metrics["R@1"] for metrics in val.values()))
