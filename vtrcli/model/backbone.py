"""The seam: what the other rooms know of a backbone, which turns frames and texts into features.

A family of backbones is one implementation of the Protocols here (model/clip/ is the first); families.py is the table
of them. What all families share stands here too: scaled pixels, batches of frames, device and number format. torch is
imported inside the functions.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from vtrcli.errors import InputError, NotFiniteError, UsageError
from vtrcli.preprocessing import Preprocessing
from vtrcli.store.config import BackboneInfo, Description

if TYPE_CHECKING:
    import torch
    from PIL import Image

DEMO_NAME = "demo"
CPU_BATCH_SIZE, GPU_BATCH_SIZE = 16, 256  # frames

Precision = Literal["auto", "float16", "bfloat16", "float32"]
Towers = Literal["both", "text", "image"]
Progress = Callable[[int, int], None]  # bytes there, bytes in all
_MAX_TEXTS = 256  # of a batch
_PRECISIONS = ("float16", "bfloat16", "float32")


@dataclass(frozen=True, kw_only=True)
class TextFeatures:
    """float32 [num_texts, dim], not normalised, and bool [num_texts], which did not fit and were cut."""

    features: np.ndarray
    was_cut: np.ndarray

    @property
    def num_cut(self) -> int:
        """How many were cut."""
        return int(self.was_cut.sum())


class NeedsTorch(Exception):
    """Why a text tower cannot be computed in NumPy; torch does it then."""


class Backbone(Protocol):
    """One loaded model, or one tower of it; `families.load_backbone` gives it."""

    @property
    def info(self) -> BackboneInfo:
        """What a store records of it."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to a picture first; frames come in its size, the rest is the backbone's own work."""

    @property
    def device(self) -> str:
        """Where it computes, in torch's words."""

    @property
    def precision(self) -> str:
        """The number format it computes in."""

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB [batch, height, width, 3] -> float32 [batch, dim], not normalised.

        Rows are bit-identical whatever else is in the batch, as long as the batch has the same size: pad the
        last one. Raises InputError for other frames, NotFiniteError for features that are NaN or infinite.
        """

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """The same on its device, started and not waited for: uint8 [batch, height, width, 3] there -> float32
        [batch, dim] there, which nobody has checked."""

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """`.features` float32 [num_texts, dim], not normalised, and `.was_cut`, which are over `max_tokens`.

        `max_tokens` counts start and end; None, and at most: the model's context. With a `batch_size` rows are
        bit-identical whatever else is encoded; None is faster for a few texts. How texts are padded is the family's.
        """

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """The whole words of `text` that fit into `max_tokens`, start and end included; `text` itself when all do.

        For what is made of a text besides its feature: the nouns and verbs of words that are not read do not count.
        """


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One line of `vtr models list`. `path` and `num_bytes` are those of what lies on disk, None when absent."""

    name: str
    kind: Literal["openai", "demo", "imported", "open_clip"]
    dim: int
    input_size: int
    state: Literal["ready", "downloaded", "absent"]  # downloaded: converted at the first use
    path: Path | None
    num_bytes: int | None
    parameters: int | None = None  # of both towers, in millions
    languages: str | None = None
    licence: str | None = None  # of the weights
    published_r1: float | None = None  # zero-shot MSR-VTT 1k-A text-to-video R@1, in per cent
    source: str | None = None  # who published it


class Family(Protocol):
    """One kind of backbones: finds, describes and loads them.

    Its methods raise WeightsError for weights that are not there or cannot be used.
    """

    def takes(self, name: str) -> bool:
        """Whether a name, file or folder is one of this family."""

    def publishes(self, name: str) -> bool:
        """Whether it is the name of published weights, so that two of them are never the same."""

    def describe(self, name: str, *, progress: Progress | None = None) -> Description:
        """What `load` would give, downloaded and converted first where need be; without torch once that is done."""

    def load(
        self,
        name: str,
        *,
        device: str,
        precision: Precision,
        towers: Towers,
        sha256: str | None = None,
    ) -> Backbone:
        """The backbone, on a device of this machine; `sha256` finds weights whose file has gone."""

    def query_tower(self, name: str, *, sha256: str | None = None) -> Backbone:
        """Its text tower in NumPy, on the CPU in float32, for a few texts at a time and without torch.

        Raises NeedsTorch, or StoreError for weights that cannot be mapped, where `load` has to do it.
        """

    def load_trainable(
        self, name: str, *, device: str, sha256: str | None = None, from_scratch: bool = False
    ) -> TrainableBackbone:
        """What fine-tuning begins with; `from_scratch`: new weights of its sizes. Raises UsageError where it cannot."""

    def models(self) -> list[ModelEntry]:
        """Those with a name, and what of them lies on disk."""

    def pull(self, name: str, *, progress: Progress | None = None) -> Path:
        """Download published weights; returns the file that is kept."""

    def import_weights(self, path: Path, *, name: str | None = None) -> Path:
        """Keep a file or folder under a name; returns the file that is kept. Raises UsageError for the name."""

    def check(self, name: str) -> None:
        """Read every tensor and compare their content with the identity that is recorded."""

    def original(self, name: str) -> Original:
        """The same model as the library runs it that it was published with."""

    def write_random(self, name: str, folder: Path) -> Path:
        """Weights of a published architecture with random values, in a new folder; returns what `load` takes.

        Raises UsageError for a name whose architecture is not known here.
        """

    def num_parameters(self, name: str) -> int:
        """Learned numbers of both towers, counted in the weights."""


@dataclass(frozen=True, kw_only=True)
class Original:
    """A model in the hands of its own library, in float32 on the CPU: what ours is compared with.

    Attributes:
        library: its name and version.
        pixels: a whole RGB picture -> float32 [3, height, width], normalised.
        images: float32 [batch, 3, height, width], normalised -> float32 [batch, dim].
        texts: texts -> float32 [num_texts, dim].
    """

    library: str
    pixels: Callable[[Image.Image], np.ndarray]
    images: Callable[[np.ndarray], np.ndarray]
    texts: Callable[[Sequence[str]], np.ndarray]


class TrainableBackbone(Protocol):
    """A backbone of float32 weights that learn (`vtr train --finetune`): tensors go in and out, on its device."""

    @property
    def info(self) -> BackboneInfo:
        """Of the weights that it began with."""

    @property
    def preprocessing(self) -> Preprocessing:
        """As a `Backbone`'s."""

    @property
    def module(self) -> torch.nn.Module:
        """Whose parameters learn."""

    @property
    def is_causal(self) -> bool:
        """Whether what stands behind a text's last token changes nothing, so that a batch may be cut to its longest."""

    def prepare(self, *, freeze_layers: int, gradient_checkpointing: bool) -> None:
        """Freeze the first layers of both towers with their embeddings, and its own logit scale.

        Raises:
            UsageError: both towers have fewer layers.
        """

    def tokenize(self, text: str, *, max_tokens: int | None = None) -> list[int]:
        """The ids of a text; zeros go behind them where `is_causal`, else they are as long as the context."""

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """As a `Backbone`'s."""

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [num_frames, height, width, 3] -> float32 [num_frames, dim]."""

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [num_texts, tokens] -> float32 [num_texts, dim]."""

    def encoders(
        self, *, device: str
    ) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[torch.Tensor], torch.Tensor]]:
        """Frames -> features and tokens -> features, as a store made with the weights of now has them."""

    def save(self, path: Path, *, log_scale: torch.Tensor, started_from: str) -> BackboneInfo:
        """Write the weights so that `--backbone` takes them, with this scale, as the folder `path` or as a file of that
        name and a suffix; the `name` of what is returned tells which. Raises WeightsError."""


def count_parameters(weights: Path) -> int:
    """Numbers in the floating-point tensors of a safetensors file, without those that are counted, not learned."""
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as file:
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        return sum(
            math.prod(part.get_shape())
            for key, part in slices.items()
            if "F" in part.get_dtype() and not key.endswith((".running_mean", ".running_var"))
        )


def random_tensors(like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """float32 tensors of these names and shapes with values that keep a tower's numbers in bounds: speed and memory
    do not depend on them, but numbers that are not finite, or nearly zero, would cost time of their own."""
    import torch

    block = torch.from_numpy(np.random.default_rng(0).standard_normal(1 << 20, np.float32) * np.float32(0.02))
    state = {}
    for key, tensor in like.items():
        if tensor.ndim >= 2:
            repeated = block.repeat(-(-tensor.numel() // block.numel()))[: tensor.numel()]
            state[key] = repeated.reshape(tensor.shape).clone()
        elif key.endswith((".weight", ".running_var")):
            state[key] = torch.ones(tensor.shape)
        else:
            state[key] = torch.zeros(
                tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype
            )
    return state


def require_frames(frames: np.ndarray, preprocessing: Preprocessing) -> None:
    """Raises InputError unless `frames` are uint8 RGB of the right size."""
    if frames.dtype != np.uint8 or frames.shape[1:] != preprocessing.shape:
        height, width, _ = preprocessing.shape
        raise InputError(
            f"frames of type {frames.dtype} and shape {list(frames.shape)}",
            allowed=f"uint8 RGB frames of shape [batch, {height}, {width}, 3]",
            to_do="decode the frames with the backbone's input size",
        )


def require_finite(features: np.ndarray, *, name: str, precision: str) -> np.ndarray:
    """`features` themselves. Raises NotFiniteError."""
    if not np.isfinite(features).all():
        raise NotFiniteError(
            f"{name} gives features that are NaN or infinite in {precision}",
            allowed="features are finite",
            to_do="check the weights (vtr models check)"
            if precision == "float32"
            else "use --precision float32",
        )
    return features


def pixels_on(device: str, frames: np.ndarray) -> torch.Tensor:
    """uint8 [batch, height, width, 3] as a tensor there."""
    import torch

    # A copy of the bytes: torch warns about arrays that cannot be written, such as those over a pipe's buffer.
    pixels = torch.empty(frames.shape, dtype=torch.uint8)
    pixels.numpy()[...] = frames
    return pixels.to(device)


def normalised_pixels(frames: np.ndarray, preprocessing: Preprocessing, *, device: str) -> torch.Tensor:
    """uint8 [batch, height, width, 3] -> float32 [batch, 3, height, width] on `device`, scaled there."""
    return scaled_pixels(pixels_on(device, frames), preprocessing)


def scaled_pixels(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """As `normalised_pixels`, of a tensor on its own device."""
    import torch

    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(3, 1, 1)
    values = pixels.permute(0, 3, 1, 2).float() / 255
    low, high = preprocessing.value_range
    if (low, high) != (0.0, 1.0):
        values = values * (high - low) + low
    return (values - mean) / std


def batches_by_length(lengths: Sequence[int], batch_size: int | None) -> Iterator[list[int]]:
    """The indices of texts, batch by batch: with a `batch_size` each batch holds texts of one length, so that a text's
    feature depends on no other; with None up to 256 texts of similar length share one."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    groups = [order]
    if batch_size is not None:
        groups = [list(group) for _, group in itertools.groupby(order, key=lambda index: lengths[index])]
    size = batch_size or _MAX_TEXTS
    for members in groups:
        for start in range(0, len(members), size):
            yield members[start : start + size]


def encode_rows(
    rows: Sequence[tuple[Sequence[int], bool]],
    encode: Callable[[np.ndarray], np.ndarray],
    *,
    dim: int,
    batch_size: int | None,
) -> TextFeatures:
    """Token ids of texts, and which were cut, through a tower: int64 [batch, longest], zeros behind shorter ones ->
    float32 [batch, dim]. With a `batch_size` each batch is filled up to it with its first row."""
    features = np.zeros((len(rows), dim), np.float32)
    for chosen in batches_by_length([len(ids) for ids, _ in rows], batch_size):
        length = max(len(rows[index][0]) for index in chosen)
        tokens = np.zeros((max(len(chosen), batch_size or 0), length), np.int64)
        for place, index in enumerate(chosen):
            tokens[place, : len(rows[index][0])] = rows[index][0]
        tokens[len(chosen) :] = tokens[0]
        features[chosen] = encode(tokens)[: len(chosen)]
    return TextFeatures(features=features, was_cut=np.array([was_cut for _, was_cut in rows], bool))


def default_batch_size(device: str) -> int:
    """How many frames are encoded at a time."""
    return GPU_BATCH_SIZE if device.startswith("cuda") else CPU_BATCH_SIZE


def choose_device(device: str) -> str:
    """`auto` is CUDA, else Apple's MPS, else the CPU; anything else must be there. Raises UsageError."""
    # Idle torch threads spin by default. Beside ffmpeg, or anything else on the same cores, that made the encoder two
    # to fourteen times slower. Read when torch is loaded, which happens here; the command line sets it first of all.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises AssertionError for a build without CUDA
        raise UsageError(
            f"device {device!r} cannot be used here",
            allowed="auto, cpu, cuda, cuda:N or mps, as far as this machine has them",
            to_do="use --device auto",
        ) from error
    return device


def choose_precision(precision: Precision, *, device: str, towers: Towers) -> str:
    """`auto` is float16 on CUDA, bfloat16 on a CPU that computes in it, else float32. Raises UsageError.

    The text tower alone stays float32 on a CPU: one query takes milliseconds in either, and in float32 its feature
    does not depend on how the batch was cut (1e-7 of its length, against 2e-3).
    """
    if precision == "auto":
        return "float32" if device == "cpu" and towers == "text" else fast_precisions(device)[0]
    if precision not in _PRECISIONS:
        raise UsageError(
            f"precision {precision!r} is not known",
            allowed=f"auto, {', '.join(_PRECISIONS)}",
            to_do="use --precision auto",
        )
    return precision


def fast_precisions(device: str) -> tuple[Precision, ...]:
    """What a device is made for, the fastest first."""
    if device.startswith("cuda"):
        return ("float16", "bfloat16", "float32")
    return ("bfloat16", "float32") if device == "cpu" and cpu_has_bfloat16() else ("float32",)


def torch_dtype(precision: str) -> torch.dtype:
    """The torch dtype of a precision's name."""
    import torch

    found: torch.dtype = getattr(torch, precision)
    return found


def cpu_has_bfloat16() -> bool:
    """True where the CPU multiplies bfloat16 itself (AVX512-BF16 or AMX); elsewhere it is slower than float32."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent from older torch
    return any(probe() for name in probes if (probe := getattr(torch.cpu, name, None)))
