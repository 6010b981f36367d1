"""What `vtr models` does: list, pull, import and check weights, and compare their features with known good ones.

Printing is left to the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vtrcli.errors import InputError, UsageError, WeightsError
from vtrcli.model.backbone import BackboneInfo
from vtrcli.model.clip.converted import damaged, is_converted, read_header
from vtrcli.model.clip.download import KNOWN_MODELS, KnownModel, default_cache_dir, file_sha256, known_model
from vtrcli.model.clip.weights import (
    CONVERTED_SUFFIX,
    DEMO_NAME,
    DEMO_WEIGHTS,
    Progress,
    convert,
    convert_known,
    fetch_known,
    find_weights,
    is_model_name,
    known_target,
    locked,
)
from vtrcli.model.families import backbone_info


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One line of `vtr models list`. `path` and `num_bytes` are those of what lies on disk, None when absent."""

    name: str
    kind: Literal["openai", "demo", "imported"]
    dim: int
    input_size: int
    state: Literal["ready", "downloaded", "absent"]  # downloaded: converted at the first use
    path: Path | None
    num_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class FeatureComparison:
    """Cosines between two feature tables, row by row."""

    num_rows: int
    min_cosine: float
    mean_cosine: float
    worst_row: int


def list_models(*, cache_dir: Path | None = None) -> list[ModelEntry]:
    """OpenAI's models, the demo's and the imported ones, with what of them lies on disk."""
    cache = cache_dir or default_cache_dir()
    entries = [_known_entry(model, cache) for model in KNOWN_MODELS]
    known = {known_target(model, cache_dir=cache) for model in KNOWN_MODELS}
    if is_converted(DEMO_WEIGHTS):
        entries.append(_entry(DEMO_NAME, "demo", DEMO_WEIGHTS))
    for path in sorted(cache.glob(f"*{CONVERTED_SUFFIX}")):
        if path not in known and is_converted(path):
            entries.append(_entry(path.name.removesuffix(CONVERTED_SUFFIX), "imported", path))
    return entries


def pull_model(name: str, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Path:
    """Download and convert one of OpenAI's models; returns the converted file. Raises WeightsError, UsageError."""
    model = known_model(name)
    if model is None:
        raise UsageError(
            f"{name!r} cannot be pulled",
            allowed=f"OpenAI publishes {', '.join(known.name for known in KNOWN_MODELS)}",
            to_do="use `vtr models import FILE` for other weights",
        )
    return fetch_known(model, cache_dir=cache_dir or default_cache_dir(), progress=progress)


def import_weights(path: Path, *, name: str | None = None, cache_dir: Path | None = None) -> Path:
    """Convert a file or folder into the cache, so that `--backbone NAME` finds it; returns the converted file.

    Without a name, OpenAI's files are recognised by their checksum and others are called after their file.
    Raises WeightsError, UsageError.
    """
    cache = cache_dir or default_cache_dir()
    model = known_model(name) if name else _published(path)
    if model:
        target = known_target(model, cache_dir=cache)
        with locked(target):
            return convert_known(model, path, target)
    name = name or path.resolve().stem
    if not is_model_name(name) or name == DEMO_NAME:
        raise UsageError(
            f"weights cannot be called {name!r}",
            allowed="a name has letters, digits and . _ @ - (64 at most) and is not 'demo'",
            to_do="choose another with --name",
        )
    target = cache / f"{name}{CONVERTED_SUFFIX}"
    with locked(target):
        return convert(path, target, name=name)


def check_weights(name: str, *, cache_dir: Path | None = None) -> BackboneInfo:
    """Read every tensor of the converted weights and compare their content with the identity in the header.

    Raises WeightsError when they differ, or as `load_backbone` does.
    """
    from vtrcli.model.clip.formats import read_state_dict
    from vtrcli.model.clip.model import checked_state, content_sha256

    path = find_weights(name, cache_dir=cache_dir)
    state, _ = checked_state(read_state_dict(path), source=str(path))
    if content_sha256(state) != read_header(path).sha256:
        raise damaged(path, "its tensors are not those of its SHA-256")
    return backbone_info(name, cache_dir=cache_dir)


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


def _published(path: Path) -> KnownModel | None:
    if path.is_dir():
        return None
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror}",
            allowed="a file or folder of weights",
            to_do="check the path",
        ) from error
    return next((model for model in KNOWN_MODELS if model.sha256 == digest), None)


def _known_entry(model: KnownModel, cache: Path) -> ModelEntry:
    target, archive = known_target(model, cache_dir=cache), cache / model.file_name
    path = target if is_converted(target) else archive if archive.is_file() else None
    return ModelEntry(
        name=model.name,
        kind="openai",
        dim=model.dim,
        input_size=model.input_size,
        state="absent" if path is None else "ready" if path == target else "downloaded",
        path=path,
        num_bytes=path.stat().st_size if path else None,
    )


def _entry(name: str, kind: Literal["demo", "imported"], path: Path) -> ModelEntry:
    config = read_header(path).config
    return ModelEntry(
        name=name,
        kind=kind,
        dim=config.embed_dim,
        input_size=config.image_resolution,
        state="ready",
        path=path,
        num_bytes=path.stat().st_size,
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
