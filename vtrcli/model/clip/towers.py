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
from vtrcli.model.backbone import (
    Description,
    TextFeatures,
    Towers,
    normalised_pixels,
    require_frames,
)
from vtrcli.model.clip.model import clip_tokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"
# 75 tokens never reach so far in written language; it bounds the tokenizer, whose time grows with the
# square of a word's length.
_MAX_CHARACTERS = 4096
_MAX_BATCH = 256


class ClipBackbone:
    """One loaded CLIP, or one tower of it. See `vtrcli.model.backbone.Backbone`."""

    def __init__(
        self, model: Any, described: Description, *, device: str, precision: str, towers: Towers
    ) -> None:
        self.model = model  # clip.model.CLIP; a tower that was not loaded is on the meta device
        self.info, self.preprocessing = described
        self.device = device
        self.precision = precision
        self._towers = towers

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """See `Backbone.encode_images`: why rows are bit-identical is told in docs/backbones.md."""
        self._require("image")
        require_frames(frames, self.preprocessing)
        if not len(frames):
            return np.zeros((0, self.info.dim), np.float32)
        with torch.inference_mode():
            features = self.model.encode_image(
                normalised_pixels(frames, self.preprocessing, device=self.device)
            )
            return features.float().cpu().numpy()  # type: ignore[no-any-return]

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """See `Backbone.encode_texts`.

        With a `batch_size` each batch holds texts of one length and is filled up to that size, so that a text's feature
        is bit for bit the same whatever else is encoded with it. With None up to 256 texts of similar length share one.
        """
        self._require("text")
        if isinstance(texts, str):
            raise InputError("one text", allowed="a list of texts", to_do="pass [text]")
        length = token_limit(max_tokens, self.info.context_length)
        rows = [tokenize(text, context_length=length) for text in texts]
        features = np.zeros((len(rows), self.info.dim), np.float32)
        for chosen in _batches([len(ids) for ids, _ in rows], batch_size):
            tokens = pad_tokens([rows[index][0] for index in chosen])
            missing = 0 if batch_size is None else batch_size - len(chosen)
            tokens = torch.cat([tokens, tokens[:1].expand(missing, -1)])
            features[chosen] = self.encode_tokens(tokens).cpu().numpy()[: len(chosen)]
        return TextFeatures(features=features, num_cut=sum(was_cut for _, was_cut in rows))

    @torch.inference_mode()
    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [num_texts, length] -> float32 [num_texts, dim] on the device."""
        features: torch.Tensor = self.model.encode_text(tokens.to(self.device)).float()
        return features

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """See `Backbone.cut_text`."""
        return cut_text(text, max_tokens)

    def _require(self, tower: str) -> None:
        if self._towers not in ("both", tower):
            raise UsageError(
                f"only the {self._towers} tower of {self.info.name} is loaded",
                allowed=f"this needs the {tower} tower",
                to_do=f"load the backbone with towers='both' or towers='{tower}'",
            )


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
    """See `Backbone.cut_text`."""
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
