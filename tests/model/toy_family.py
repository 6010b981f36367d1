"""A second family of backbones, as unlike CLIP as the seam allows: a real tiny torch model, drawn from a seed.

Pictures are squashed (bilinear) to 40 x 24 pixels and scaled to -1..1 from 0..255; texts are lower-cased words, always
padded to 12 tokens, and its attention looks at the padding too; it has a logit bias, as models trained with a sigmoid.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from vtrcli.errors import UsageError
from vtrcli.model.backbone import (
    Backbone,
    ModelEntry,
    NeedsTorch,
    TextFeatures,
    pixels_on,
    require_frames,
    scaled_pixels,
)
from vtrcli.preprocessing import Preprocessing
from vtrcli.store.config import BackboneInfo, Description

NAME = "toy"
DIM, VOCABULARY, CONTEXT = 16, 509, 12
SCALE, BIAS = 20.0, -10.0
PREPROCESSING = Preprocessing(
    height=24,
    width=40,
    resize="squash",
    interpolation="bilinear",
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    value_range=(0.0, 255.0),
)


class ToyModel(nn.Module):
    """Patches of 8 x 8 pixels, and words under one layer of attention that is not causal; both are averaged."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.patches = nn.Conv2d(3, DIM, kernel_size=8, stride=8)
            self.words = nn.Embedding(VOCABULARY + 1, DIM)
            self.positions = nn.Parameter(torch.randn(CONTEXT, DIM))
            self.attention = nn.MultiheadAttention(DIM, num_heads=2, batch_first=True)
            self.eval()

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 [batch, 3, 24, 40] -> [batch, 16]."""
        return torch.tanh(self.patches(pixels)).mean(dim=(2, 3))

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [batch, 12] -> [batch, 16]."""
        hidden = self.words(tokens) + self.positions
        return (hidden + self.attention(hidden, hidden, hidden, need_weights=False)[0]).mean(dim=1)


def describe() -> Description:
    """The identity is made of the weights and of all that is done to pictures and texts."""
    told = {"preprocessing": PREPROCESSING.to_json(), "context_length": CONTEXT}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted(ToyModel().state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    info = BackboneInfo(
        name=NAME,
        sha256=digest.hexdigest(),
        dim=DIM,
        input_size=(PREPROCESSING.height, PREPROCESSING.width),
        logit_scale=SCALE,
        logit_bias=BIAS,
        context_length=CONTEXT,
    )
    return Description(info, PREPROCESSING)


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class ToyBackbone:
    """See `vtrcli.model.backbone.Backbone`. `seen` holds the shapes of all batches of tokens."""

    seen: list[tuple[int, ...]] = []  # noqa: RUF012

    def __init__(self, device: str, precision: str) -> None:
        self.model = ToyModel().to(device)
        self.info, self.preprocessing = describe()
        self.device, self.precision = device, precision

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        require_frames(frames, self.preprocessing)
        return self.encode_pixels(pixels_on(self.device, frames)).cpu().numpy()

    @torch.inference_mode()
    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.encode_pixels(scaled_pixels(pixels, self.preprocessing))

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        limit = min(max_tokens or CONTEXT, CONTEXT)
        tokens = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
        for row, text in enumerate(texts):
            ids = [zlib.crc32(word.encode()) % VOCABULARY + 1 for word in words_of(text)[:limit]]
            tokens[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        features = np.zeros((len(texts), DIM), np.float32)
        size = batch_size or max(1, len(texts))
        for start in range(0, len(texts), size):
            batch = torch.zeros(size, CONTEXT, dtype=torch.long)
            part = tokens[start : start + size]
            batch[: len(part)] = part
            self.seen.append(tuple(batch.shape))
            with torch.inference_mode():
                encoded = self.model.encode_tokens(batch.to(self.device)).cpu().numpy()
            features[start : start + size] = encoded[: len(part)]
        return TextFeatures(
            features=features, was_cut=np.array([len(words_of(text)) > limit for text in texts], bool)
        )

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        words = words_of(text)
        return text if max_tokens is None or len(words) <= max_tokens else " ".join(words[:max_tokens])


class ToyFamily:
    """See `vtrcli.model.backbone.Family`."""

    def takes(self, name: str) -> bool:
        return name == NAME

    def publishes(self, name: str) -> bool:
        return name == NAME

    def describe(self, name: str, **_: object) -> Description:
        return describe()

    def load(self, name: str, *, device: str, precision: str, towers: str, **_: object) -> ToyBackbone:
        return ToyBackbone(device, "float32" if precision == "auto" else precision)

    def query_tower(self, name: str, *, sha256: str | None = None) -> Backbone:
        raise NeedsTorch("it has no transformer")

    def load_trainable(self, name: str, **_: object) -> ToyBackbone:
        raise UsageError(
            f"{name} cannot be fine-tuned",
            allowed="backbones whose layers can be frozen",
            to_do="train on cached features: leave --finetune out",
        )

    def models(self, **_: object) -> list[ModelEntry]:
        return [
            ModelEntry(
                name=NAME, kind="demo", dim=DIM, input_size=24, state="ready", path=None, num_bytes=None
            )
        ]
