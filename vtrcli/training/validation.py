"""Validation after each epoch: the plain metrics of `vtr eval` on the validation videos, never a corrected one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vtrcli.model.camoe import Camoe
from vtrcli.ranking.evaluate import evaluate
from vtrcli.ranking.scores import VectorScores
from vtrcli.ranking.truth import Truth
from vtrcli.training.data import FeatureSet

CHUNK = 1024  # videos or texts at a time


def validate(camoe: Camoe, features: FeatureSet, *, device: str) -> dict[str, Any]:
    """Metrics per direction, with the keys of `vtr eval --json`."""
    videos, texts = encode(camoe, features, device=device)
    truth = Truth.from_videos(features.video_of_text, num_videos=len(features.video_ids))
    result = evaluate(VectorScores(texts, videos), truth, num_bootstrap=0)
    directions = {"t2v": result.t2v, "v2t": result.v2t}
    return {name: metrics.to_json() for name, metrics in directions.items() if metrics is not None}


def validation_score(val: dict[str, Any]) -> float:
    """What decides which epoch is kept: the sum of R@1 of both directions (our choice)."""
    return float(sum(metrics["R@1"] for metrics in val.values()))


@torch.inference_mode()
def encode(camoe: Camoe, features: FeatureSet, *, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Video vectors float32 [num_videos, E * dim] and text vectors float32 [num_texts, E * dim]."""
    videos = [
        camoe.video_vectors(
            torch.from_numpy(features.frames[start : start + CHUNK]).to(device),
            torch.from_numpy(features.frame_mask[start : start + CHUNK]).to(device),
        )
        for start in range(0, len(features.frames), CHUNK)
    ]
    texts = [
        camoe.text_vectors(
            torch.from_numpy(features.texts[start : start + CHUNK]).to(device),
            torch.from_numpy(features.stream_mask[start : start + CHUNK]).to(device),
        )
        for start in range(0, len(features.texts), CHUNK)
    ]
    return torch.cat(videos).float().cpu().numpy(), torch.cat(texts).float().cpu().numpy()
