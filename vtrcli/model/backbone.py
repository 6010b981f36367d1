"""The backbone as the other rooms see it: frames and texts -> features, whatever model makes them.

Here is what every family of backbones shares: what a store must know, device and number format, batches of frames.
Who loads a name is told in families.py; resizing frames is left to the decoder. torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from vtrcli.errors import UsageError

if TYPE_CHECKING:
    import torch

CPU_BATCH_SIZE, GPU_BATCH_SIZE = 16, 256  # frames

Precision = Literal["auto", "float16", "bfloat16", "float32"]
Towers = Literal["both", "text", "image"]
_PRECISIONS = ("float16", "bfloat16", "float32")


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """What a feature store must know of its backbone; `sha256` is the identity of the weights' content."""

    name: str  # what `load_backbone` takes: for a file its absolute path
    sha256: str
    dim: int
    input_size: int  # frames are input_size x input_size pixels
    context_length: int  # tokens of a text, start and end included
    logit_scale: float  # factor of the cosines, about 100


@dataclass(frozen=True, kw_only=True)
class TextFeatures:
    """float32 [num_texts, dim], not normalised, and how many texts did not fit into the context and were cut."""

    features: np.ndarray
    num_cut: int


class Backbone(Protocol):
    """One loaded model, or one tower of it; `load_backbone` gives it."""

    @property
    def info(self) -> BackboneInfo:
        """What a store must know of it."""

    @property
    def device(self) -> str:
        """Where it computes, in torch's words."""

    @property
    def precision(self) -> str:
        """The number format it computes in."""

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB [batch, input_size, input_size, 3] -> float32 [batch, dim], not normalised.

        Rows are bit-identical whatever else is in the batch, as long as the batch has the same size: pad the
        last one. Raises InputError for other frames.
        """

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """`.features` float32 [num_texts, dim], not normalised, and `.num_cut`, the texts over `max_tokens`.

        `max_tokens` counts start and end; None, and at most: the model's context, 77. With a `batch_size` rows are
        bit-identical whatever else is encoded; None is faster for a few texts.
        """


def default_batch_size(device: str) -> int:
    """How many frames are encoded at a time."""
    return GPU_BATCH_SIZE if device.startswith("cuda") else CPU_BATCH_SIZE


class FrameBatcher:
    """Packs frames of many videos into batches of one fixed size, and hands their features back per video.

    The size never varies, the last batch is padded: kernels may round differently for another batch size, and a
    store that was interrupted must come out bit for bit as one that was not.
    """

    def __init__(
        self, encode: Callable[[np.ndarray], np.ndarray], *, batch_size: int, input_size: int
    ) -> None:
        self._encode = encode
        self._pixels = np.zeros((batch_size, input_size, input_size, 3), np.uint8)
        self._owners: list[tuple[int, int]] = []
        self._filled = 0

    def push(self, owner: int, pixels: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Add uint8 [num_frames, size, size, 3] of one video.

        Returns:
            (owner, features float32 [num_rows, dim]) for every batch that became full, in the order of pushing.
        """
        done: list[tuple[int, np.ndarray]] = []
        start = 0
        while start < len(pixels):
            count = min(len(pixels) - start, len(self._pixels) - self._filled)
            self._pixels[self._filled : self._filled + count] = pixels[start : start + count]
            self._owners.append((owner, count))
            self._filled += count
            start += count
            if self._filled == len(self._pixels):
                done += self.flush()
        return done

    def flush(self) -> list[tuple[int, np.ndarray]]:
        """Encode what has gathered, padded with black frames."""
        if not self._filled:
            return []
        self._pixels[self._filled :] = 0
        features = self._encode(self._pixels)
        done = []
        row = 0
        for owner, count in self._owners:
            done.append((owner, features[row : row + count]))
            row += count
        self._owners, self._filled = [], 0
        return done


def choose_device(device: str) -> str:
    """`auto` is CUDA, else Apple's MPS, else the CPU; anything else must be there. Raises UsageError."""
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
        if device.startswith("cuda"):
            return "float16"
        return "bfloat16" if device == "cpu" and towers != "text" and cpu_has_bfloat16() else "float32"
    if precision not in _PRECISIONS:
        raise UsageError(
            f"precision {precision!r} is not known",
            allowed=f"auto, {', '.join(_PRECISIONS)}",
            to_do="use --precision auto",
        )
    return precision


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
