"""Truths and predictions written by hand, and files of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.datasets.moments import MomentTruth, Ragged

Windows = Sequence[Sequence[float]]


def truth_of(
    *queries: Windows,
    video_ids: Sequence[str] = (),
    duration: float = 150.0,
    saliency: Sequence[Sequence[Sequence[float]]] | None = None,
) -> MomentTruth:
    """One query per list of windows."""
    return MomentTruth(
        query_ids=tuple(range(len(queries))),
        texts=tuple(f"query {number}" for number in range(len(queries))),
        video_ids=tuple(video_ids) or tuple(f"v{number}" for number in range(len(queries))),
        durations=np.full(len(queries), duration),
        windows=ragged(*queries, width=2),
        saliency=None
        if saliency is None
        else Ragged.of([np.array(rows, float) for rows in saliency], width=len(saliency[0][0])),
    )


def ragged(*queries: Sequence[Any], width: int | None = 3) -> Ragged:
    empty = np.zeros((0,) if width is None else (0, width))
    return Ragged.of([np.array(rows, float) if len(rows) else empty for rows in queries], width=width)


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def truth_row(query_id: object = 1, **more: Any) -> dict[str, Any]:
    """A row in QVHighlights' layout."""
    row = {
        "qid": query_id,
        "query": "a man cooks",
        "vid": "v1",
        "duration": 150,
        "relevant_windows": [[10, 20]],
    }
    return row | more


def predicted_row(query_id: object = 1, **more: Any) -> dict[str, Any]:
    row = {"qid": query_id, "query": "a man cooks", "vid": "v1", "pred_relevant_windows": [[10, 18, 0.9]]}
    return row | more
