"""Frames and texts -> features, by a loaded CLIP.

Frames arrive with the model's own size. Tokens are as clip.tokenize makes them, batches cut to their longest text:
attention in the text tower is causal and the feature is read at the end token, so what stands behind that token
changes nothing. Cutting is exact, and several times faster than always computing 77 positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from vtrcli.errors import InputError, UsageError
from vtrcli.model.backbone import BackboneInfo, TextFeatures, Towers
from vtrcli.model.clip.model import clip_tokenizer
from vtrcli.model.preprocess import MEAN, STD

_START, _END = "<|startoftext|>", "<|endoftext|>"
# 75 tokens never reach so far in written language; it bounds the tokenizer, whose time grows with the
# square of a word's length.
_MAX_CHARACTERS = 4096
_MAX_BATCH = 256


class ClipBackbone:
    """One loaded CLIP. See `vtrcli.model.backbone.Backbone`."""

    def __init__(
        self,
        model: Any,
        *,
        info: BackboneInfo,
        device: str,
        precision: str,
        towers: Towers,
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
        self._require("image")
        return encode_images(self.model, frames, device=self.device)

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """`.features` float32 [num_texts, dim], not normalised, and `.num_cut`, the texts over `max_tokens`.

        `max_tokens` counts start and end; None, and at most: the model's context, 77. With a `batch_size` rows are
        bit-identical whatever else is encoded; None is faster for a few texts.
        """
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


def encode_texts(
    model: Any,
    texts: Sequence[str],
    *,
    device: str,
    batch_size: int | None = None,
    max_tokens: int | None = None,
) -> TextFeatures:
    """Features of `texts`, in their order. Raises InputError.

    With a `batch_size` each batch holds texts of one length and is filled up to that size, so that a text's feature is
    bit for bit the same whatever else is encoded with it. With None up to 256 texts of similar length share one.
    """
    if isinstance(texts, str):
        raise InputError("one text", allowed="a list of texts", to_do="pass [text]")
    length = token_limit(max_tokens, model.context_length)
    rows = [tokenize(text, context_length=length) for text in texts]
    features = np.zeros((len(rows), model.text_projection.shape[1]), np.float32)
    for chosen in _batches([len(ids) for ids, _ in rows], batch_size):
        tokens = pad_tokens([rows[index][0] for index in chosen])
        missing = 0 if batch_size is None else batch_size - len(chosen)
        tokens = torch.cat([tokens, tokens[:1].expand(missing, -1)])
        with torch.inference_mode():
            encoded = model.encode_text(tokens.to(device)).float().cpu().numpy()
        features[chosen] = encoded[: len(chosen)]
    return TextFeatures(features=features, num_cut=sum(was_cut for _, was_cut in rows))


def _batches(lengths: Sequence[int], batch_size: int | None) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    groups = [order]
    if batch_size is not None:
        groups = [list(group) for _, group in itertools.groupby(order, key=lambda index: lengths[index])]
    size = batch_size or _MAX_BATCH
    for members in groups:
        for start in range(0, len(members), size):
            yield members[start : start + size]


def tokenize(text: str, *, context_length: int) -> tuple[list[int], bool]:
    """Token ids with start and end token, at most `context_length`, and whether the text had to be cut."""
    tokenizer = clip_tokenizer()
    ids = tokenizer.encode(text[:_MAX_CHARACTERS])
    was_cut = len(ids) > context_length - 2 or len(text) > _MAX_CHARACTERS
    return [tokenizer.encoder[_START], *ids[: context_length - 2], tokenizer.encoder[_END]], was_cut


def token_limit(max_tokens: int | None, context_length: int) -> int:
    """The tokens of a text that are read, start and end included: the wanted number as far as the model goes."""
    return context_length if max_tokens is None else min(max_tokens, context_length)


def cut_text(text: str, max_tokens: int | None) -> str:
    """The whole words of `text` that fit into `max_tokens`, start and end included; `text` itself when all do.

    For what is made of a text besides its feature: the nouns and verbs of words that are not read do not count.
    """
    if max_tokens is None or not tokenize(text, context_length=max_tokens)[1]:
        return text
    kept: list[str] = []
    left = max_tokens - 2
    for word in text[:_MAX_CHARACTERS].split():  # white space always ends a token
        left -= len(clip_tokenizer().encode(word))
        if left < 0:
            break
        kept.append(word)
    return " ".join(kept)


def pad_tokens(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """int64 [num_rows, longest row], zeros behind the end token."""
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
    return tokens


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
