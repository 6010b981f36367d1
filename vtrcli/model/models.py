"""What `vtr models` does: list, pull, import and check weights, and compare what they give with what they should.

Printing is left to the command line.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import InputError
from vtrcli.model import families
from vtrcli.model.backbone import ModelEntry, Precision, Progress, normalised_pixels
from vtrcli.model.families import MIN_ROUNDED_COSINE, backbone_info, family_of, load_backbone
from vtrcli.store.config import BackboneInfo

if TYPE_CHECKING:
    from PIL import Image

NUM_CHECKED = 8  # frames
# Rounding stays well within these, another model, activation, crop or mean falls far out of them.
MIN_SAME_COSINE = 0.9999
MAX_PIXEL_DIFFERENCE = 1.0  # of 255, the mean of the worst frame
CHECKED_TEXTS = (
    "a man is cooking in a kitchen",
    "Two DOGS, running along the beach!",
    "someone plays the guitar",
    "a close-up of a paper plane's wing; then it flies",
    "",
    "a long sentence about a red car and a blue house " * 12,
)


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


@dataclass(frozen=True, kw_only=True)
class OriginalComparison:
    """Ours beside the model in the hands of its own library, which computes in float32 on the CPU.

    Attributes:
        pixels_mean, pixels_worst: mean absolute difference of the pixels, of 255, over all frames and of the worst one;
            None where the video's pixels are not square, which both sides resample in their own ways.
        same_pixels: lowest cosine of a frame's feature, ours in float32, on our pixels.
        end_to_end: the same, from the file: our pixels and theirs.
        texts: lowest cosine of a text's feature, ours in float32.
        half_pixels: as `same_pixels`, ours in `precision` on `device`.
        failures: what is not as it must be, in words; none: the features are the library's own.
    """

    library: str
    num_frames: int
    num_texts: int
    pixels_mean: float | None
    pixels_worst: float | None
    same_pixels: float
    end_to_end: float
    texts: float
    device: str
    precision: str
    half_pixels: float
    failures: list[str]


def compare_with_original(
    name: str, *, video: Path | None = None, device: str = "auto", precision: Precision = "auto"
) -> OriginalComparison:
    """Pixels and features of NUM_CHECKED frames of a video (None: one that is made) and of a few texts.

    Raises:
        VideoError, WeightsError: the video, the weights or the library cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="vtr-check-") as folder:
        frames, wholes, is_square = _checked_frames(name, video or made_video(Path(folder) / "made.mp4"))
    used = load_backbone(name, device=device, precision=precision, towers="image")
    half = used.encode_images(frames)
    exact = load_backbone(name, device="cpu", precision="float32")
    preprocessing = exact.preprocessing
    ours, our_texts = exact.encode_images(frames), exact.encode_texts(CHECKED_TEXTS).features
    pixels = normalised_pixels(frames, preprocessing, device="cpu").contiguous().numpy()
    del exact
    original = family_of(name).original(name)
    their_pixels = np.stack([original.pixels(whole) for whole in wholes])
    theirs = original.images(pixels)
    low, high = preprocessing.value_range
    steps = 255 * np.array(preprocessing.std, np.float32).reshape(3, 1, 1) / np.float32(high - low)
    difference = (np.abs(pixels - their_pixels) * steps).mean(axis=(1, 2, 3))
    found = OriginalComparison(
        library=original.library,
        num_frames=len(frames),
        num_texts=len(CHECKED_TEXTS),
        pixels_mean=float(difference.mean()) if is_square else None,
        pixels_worst=float(difference.max()) if is_square else None,
        same_pixels=compare_features(ours, theirs).min_cosine,
        end_to_end=compare_features(ours, original.images(their_pixels)).min_cosine,
        texts=compare_features(our_texts, original.texts(CHECKED_TEXTS)).min_cosine,
        device=used.device,
        precision=used.precision,
        half_pixels=compare_features(half, theirs).min_cosine,
        failures=[],
    )
    bounds = {
        "frames on the same pixels": (found.same_pixels, MIN_SAME_COSINE),
        "frames end to end": (found.end_to_end, MIN_ROUNDED_COSINE if is_square else 0.0),
        "texts": (found.texts, MIN_SAME_COSINE),
        f"frames in {found.precision}": (found.half_pixels, MIN_ROUNDED_COSINE),
    }
    failures = [
        f"{what}: lowest cosine {value:.5f}, not {least}"
        for what, (value, least) in bounds.items()
        if not value >= least
    ]
    if found.pixels_worst is not None and not found.pixels_worst <= MAX_PIXEL_DIFFERENCE:
        failures.insert(0, f"pixels: the worst frame differs by {found.pixels_worst:.2f} of 255 on average")
    return replace(found, failures=failures)


def _checked_frames(name: str, video: Path) -> tuple[np.ndarray, list[Image.Image], bool]:
    """Frames as the decoder brings them, the same ones as whole pictures, and whether the video's pixels are square."""
    from PIL import Image

    from vtrcli.video.cut import frame_at
    from vtrcli.video.reader import open_video
    from vtrcli.video.sampling import Uniform

    preprocessing = family_of(name).describe(name).preprocessing
    frames, wholes = [], []
    with open_video(video, Uniform(num_frames=NUM_CHECKED), size=preprocessing) as reader:
        info = reader.info
        side = max(info.width, info.height)
        for batch in reader:
            frames.append(batch.pixels.copy())
            wholes += [
                Image.fromarray(frame_at(video, float(time), longest_side=side)) for time in batch.timestamps
            ]
    is_square = info.width * info.stored_height == info.height * info.stored_width
    return np.concatenate(frames), wholes, is_square


def made_video(path: Path) -> Path:
    """Two seconds of a drawn Mandelbrot set: a picture with detail of every size, the same everywhere."""
    from vtrcli.video.ffmpeg import ffmpeg_binary

    drawn = "-v error -f lavfi -i mandelbrot=size=640x360:rate=4 -t 2".split()
    coded = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -threads 1".split()
    command = [ffmpeg_binary(), *drawn, *coded, str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError) as cause:
        raise InputError(
            f"a video to check with could not be made ({cause})",
            allowed="an ffmpeg with libx264 and the source `mandelbrot`",
            to_do="name a video: --video FILE",
        ) from cause
    return path


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
    name: str,
    *,
    video: Path,
    features: Path,
    fps: float,
    device: str = "auto",
    precision: Precision = "auto",
) -> FeatureComparison:
    """Cosines between our features and golden ones; both are cut to the shorter of the two.

    Args:
        features: .npy of float [num_frames, dim], frame i shown at i / fps seconds.

    Raises:
        InputError: the golden file is no such table.
        VideoError, WeightsError: the video or the weights cannot be used.
    """
    from vtrcli.video.reader import open_video
    from vtrcli.video.sampling import Rate

    golden = read_table(features)
    backbone = load_backbone(name, device=device, precision=precision, towers="image")
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
