"""The backbone: frames and texts -> features of one CLIP, by name or from a file.

torch is imported inside the functions, so that `backbone_info` answers from a file's header in milliseconds.
Where the weights come from is left to weight_sources.py, resizing frames to the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vtrcli.errors import UsageError
from vtrcli.model.converted import ConvertedHeader, read_header
from vtrcli.model.weight_sources import find_weights, lasting_name
from vtrcli.threads import let_idle_threads_sleep

if TYPE_CHECKING:
    from vtrcli.model.text_tower import TextFeatures


CPU_BATCH_SIZE, GPU_BATCH_SIZE = 16, 256  # frames


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """What a feature store must know of its backbone; `sha256` is the identity of the weights' content."""

    name: str  # what `load_backbone` takes: for a file its absolute path
    sha256: str
    dim: int
    input_size: int  # frames are input_size x input_size pixels
    context_length: int  # tokens of a text, start and end included
    logit_scale: float  # factor of the cosines, about 100


class Backbone:
    """One loaded CLIP. Made by `load_backbone`."""

    def __init__(
        self,
        model: Any,
        *,
        info: BackboneInfo,
        device: str,
        precision: str,
        towers: Literal["both", "text", "image"],
    ) -> None:
        self.model = model  # clip.model.CLIP; a tower that was not loaded is on the meta device
        self.info = info
        self.device = device
        self.precision = precision
        self._towers = towers

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB [batch, input_size, input_size, 3] -> float32 [batch, dim], not normalised.

        Rows are bit-identical whatever else is in the batch, as long as the batch has the same size: pad the
        last one. Raises InputError for other frames.
        """
        from vtrcli.model.image_tower import encode_images

        self._require("image")
        return encode_images(self.model, frames, device=self.device)

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """`.features` float32 [num_texts, dim], not normalised, and `.num_cut`, the texts over `max_tokens`.

        `max_tokens` counts start and end; None, and at most: the model's context, 77. With a `batch_size` rows are
        bit-identical whatever else is encoded; None is faster for a few texts.
        """
        from vtrcli.model.text_tower import encode_texts

        self._require("text")
        return encode_texts(
            self.model, texts, device=self.device, batch_size=batch_size, max_tokens=max_tokens
        )

    def _require(self, tower: str) -> None:
        if self._towers not in ("both", tower):
            raise UsageError(
                f"only the {self._towers} tower of {self.info.name} is loaded",
                allowed=f"this needs the {tower} tower",
                to_do=f"load the backbone with towers='both' or towers='{tower}'",
            )


def load_backbone(
    name: str,
    *,
    device: str = "auto",
    precision: Literal["auto", "float16", "bfloat16", "float32"] = "auto",
    towers: Literal["both", "text", "image"] = "both",
    sha256: str | None = None,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Backbone:
    """Load a CLIP by OpenAI name, file, folder, imported name, or `demo`; download or convert it first if needed.

    `sha256` finds weights that were converted before also when their file has gone; it is not compared otherwise.
    `progress` is called with (bytes there, bytes in all) while downloading. Raises WeightsError, UsageError.
    """
    let_idle_threads_sleep()
    from vtrcli.model.clip_loading import load_clip
    from vtrcli.model.precision import choose_device, choose_precision, torch_dtype

    chosen_device = choose_device(device)
    chosen_precision = choose_precision(precision, device=chosen_device, towers=towers)
    path = find_weights(name, sha256=sha256, cache_dir=cache_dir, progress=progress)
    return Backbone(
        load_clip(path, device=chosen_device, dtype=torch_dtype(chosen_precision), towers=towers),
        info=_info(read_header(path), name=lasting_name(name, cache_dir=cache_dir)),
        device=chosen_device,
        precision=chosen_precision,
        towers=towers,
    )


def backbone_info(
    name: str, *, cache_dir: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> BackboneInfo:
    """Name, identity and sizes, as `load_backbone` would give them; without torch once the weights are converted."""
    path = find_weights(name, cache_dir=cache_dir, progress=progress)
    return _info(read_header(path), name=lasting_name(name, cache_dir=cache_dir))


def _info(header: ConvertedHeader, *, name: str) -> BackboneInfo:
    return BackboneInfo(
        name=name,
        sha256=header.sha256,
        dim=header.config.embed_dim,
        input_size=header.config.image_resolution,
        context_length=header.config.context_length,
        logit_scale=header.logit_scale,
    )


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
