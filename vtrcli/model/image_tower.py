"""Frames -> image features. Resizing is left to the decoder: frames arrive with the model's own size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vtrcli.errors import InputError
from vtrcli.model.preprocess import MEAN, STD


def encode_images(model: Any, frames: np.ndarray, *, device: str) -> np.ndarray:
    """uint8 RGB [batch, size, size, 3] -> float32 [batch, dim], not normalised. Raises InputError.

    A row does not depend on the other rows of a batch of the same size (docs/backbones.md).
    """
    size = model.visual.input_resolution
    if frames.dtype != np.uint8 or frames.shape[1:] != (size, size, 3):
        raise InputError(
            f"frames of type {frames.dtype} and shape {list(frames.shape)}",
            allowed=f"uint8 RGB frames of shape [batch, {size}, {size}, 3]",
            to_do="decode the frames with the backbone's input size",
        )
    if not len(frames):
        return np.zeros((0, model.visual.output_dim), np.float32)
    with torch.inference_mode():
        features = model.encode_image(normalised_pixels(frames, device=device))
        return features.float().cpu().numpy()  # type: ignore[no-any-return]


def normalised_pixels(frames: np.ndarray, *, device: str) -> torch.Tensor:
    """uint8 [batch, height, width, 3] -> float32 [batch, 3, height, width], scaled on `device` as clip does."""
    # A copy of the bytes: torch warns about arrays that cannot be written, such as those over a pipe's buffer.
    pixels = torch.empty(frames.shape, dtype=torch.uint8)
    pixels.numpy()[...] = frames
    return scaled_pixels(pixels.to(device))


def scaled_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """As `normalised_pixels`, of a tensor on its own device."""
    mean = torch.tensor(MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(3, 1, 1)
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
