"""Compare a backbone's features of a video with known good ones. The use case behind `vtr models check --video`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vtrcli.errors import InputError
from vtrcli.model.backbone import load_backbone
from vtrcli.model.weight_care import FeatureComparison, compare_features
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Sampling


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
    golden = read_table(features)
    backbone = load_backbone(name, device=device, towers="image")
    sampling = Sampling(fps=fps, min_frames=1)  # takes the frames shown at 0, 1 / fps, 2 / fps …
    with open_video(video, sampling, size=backbone.info.input_size) as reader:
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
