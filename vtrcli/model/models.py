"""What `vtr models` does: list, pull, import and check weights, and compare their features with known good ones.

Printing is left to the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.errors import InputError
from vtrcli.model import families
from vtrcli.model.backbone import ModelEntry, Progress
from vtrcli.model.families import backbone_info, family_of
from vtrcli.store.config import BackboneInfo


@dataclass(frozen=True, kw_only=True)
class FeatureComparison:
    """Cosines between two feature tables, row by row."""

    num_rows: int
    min_cosine: float
    mean_cosine: float
    worst_row: int


def list_models() -> list[ModelEntry]:
    """OpenAI's models, the demo's, open_clip's and the imported ones, with what of them lies on disk."""
    entries = [entry for family in families.families() for entry in family.models()]
    return sorted(entries, key=lambda entry: {"open_clip": 1, "imported": 2}.get(entry.kind, 0))


def pull_model(name: str, *, progress: Progress | None = None) -> Path:
    """Download and convert a published model; returns the converted file. Raises WeightsError, UsageError."""
    return family_of(name).pull(name, progress=progress)


def import_weights(path: Path, *, name: str | None = None) -> Path:
    """Convert a file or folder into the cache, so that `--backbone NAME` finds it; returns the converted file.

    Without a name, published files are recognised by their checksum and others are called after their file.
    Raises WeightsError, UsageError.
    """
    return family_of(str(path)).import_weights(path, name=name)


def check_weights(name: str) -> BackboneInfo:
    """Read every tensor of the weights and compare their content with the identity that is recorded.

    Raises WeightsError when they differ, or as `load_backbone` does.
    """
    family_of(name).check(name)
    return backbone_info(name)


def compare_features(ours: np.ndarray, golden: np.ndarray) -> FeatureComparison:
    """Compare [num_rows, dim] features with known good ones of the same shape. Raises InputError."""
    if ours.shape != golden.shape or ours.ndim != 2 or not len(ours):
        raise InputError(
            f"features of shape {list(ours.shape)} against {list(golden.shape)}",
            allowed="two tables of the same shape [num_rows, dim] with at least one row",
            to_do="use the same frames and the same backbone",
        )
    ours, golden = ours.astype(np.float64), golden.astype(np.float64)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(golden, axis=1)
    cosines = (ours * golden).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
    return FeatureComparison(
        num_rows=len(cosines),
        min_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        worst_row=int(cosines.argmin()),
    )


def compare_with_golden(
    name: str, *, video: Path, features: Path, fps: float, device: str = "auto"
) -> FeatureComparison:
    """Cosines between our features and golden ones; both are cut to the shorter of the two.

    Args:
        features: .npy of float [num_frames, dim], frame i shown at i / fps seconds.

    Raises:
        InputError: the golden file is no such table.
        VideoError, WeightsError: the video or the weights cannot be used.
    """
    from vtrcli.model.families import load_backbone
    from vtrcli.video.reader import open_video
    from vtrcli.video.sampling import Rate

    golden = read_table(features)
    backbone = load_backbone(name, device=device, towers="image")
    sampling = Rate(fps=fps, min_frames=1)  # takes the frames shown at 0, 1 / fps, 2 / fps …
    with open_video(video, sampling, size=backbone.preprocessing) as reader:
        batches = [backbone.encode_images(batch.pixels) for batch in reader]
    ours = np.concatenate(batches)
    num_rows = min(len(ours), len(golden))
    return compare_features(ours[:num_rows], golden[:num_rows])


def read_table(path: Path) -> np.ndarray:
    """The finite numbers [num_rows, dim] of a .npy file. Raises InputError for anything else."""
    try:
        table = np.load(path, allow_pickle=False)
        if not isinstance(table, np.ndarray):
            raise ValueError("it holds several arrays")
        if table.ndim != 2 or table.dtype.kind not in "fiu":
            raise ValueError(f"it holds {table.dtype} of shape {list(table.shape)}")
        if not np.isfinite(table).all():
            raise ValueError("not all of its numbers are finite")
    except (OSError, EOFError, ValueError) as cause:
        raise InputError(
            f"{path} cannot be read: {cause}",
            allowed="a .npy file of numbers, [num_frames, dim]",
            to_do="check the file",
        ) from cause
    return table
