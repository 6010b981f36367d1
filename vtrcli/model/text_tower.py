"""The text tower of a CLIP-like model in NumPy, from mapped weights: a query needs no torch, whose import takes longer
than all the rest of a search.

Computed as `clip.model.CLIP.encode_text` and open_clip's `TextTransformer` do, in float32; the features are theirs to
1e-5 of their length. It is made for a few texts at a time: those of whole data sets are left to torch, which has more
threads and a GPU. What it cannot compute is refused with the reason (`NeedsTorch`), and torch does it.

Letters: B texts, L tokens, W width, H heads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from vtrcli.errors import InputError, UsageError
from vtrcli.model.backbone import NeedsTorch, TextFeatures, encode_rows, require_finite
from vtrcli.store.config import Description
from vtrcli.store.maps import BFLOAT16

if TYPE_CHECKING:
    import torch

Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
Pooling = Literal["first", "last", "argmax", "eos"]
POOLING: tuple[Pooling, ...] = ("first", "last", "argmax", "eos")
# OpenBLAS multiplies up to a million numbers at once without copying them first, and in one thread: so cut, a few rows
# against a whole matrix take half the time, and nobody waits for a thread on a busy machine.
FEW_ROWS, STRIP_NUMBERS = 48, 16_384
# More texts at a time take OpenBLAS' own threads, which wait by spinning and cost four times the processor time. Where
# they are turned off (`vtr serve` does so), 32 cost 11 ms each where two cost 17 (docs/experiments.md).
TEXTS_AT_ONCE, TEXTS_AT_ONCE_ALONE = 2, 32
_TABLE_STEPS, _TABLE_END = 512, 6.0


@dataclass(frozen=True, kw_only=True)
class TextShape:
    """What the names and shapes of the tensors do not tell.

    Attributes:
        heads: of each layer.
        is_causal: whether a token sees only those before it.
        pooling: the token whose output is the text's: the first, the last, that of the highest id, or that of `eos_id`.
        eps: of the layer norms.
    """

    heads: int
    activation: Activation = "quick_gelu"
    is_causal: bool = True
    pooling: Pooling = "argmax"
    eos_id: int = 2
    eps: float = 1e-5


class TextTower:
    """int64 [B, L] token ids -> float32 [B, dim].

    Args:
        tensors: under the names of OpenAI's CLIP, float16, bfloat16 or float32; they may be mapped.

    Raises:
        NeedsTorch: there are other tensors than such a tower has.
    """

    def __init__(self, shape: TextShape, tensors: Mapping[str, np.ndarray]) -> None:
        self._shape, self._tensors = shape, tensors
        self._ready: dict[str, np.ndarray] | None = None
        names = [name for name in tensors if name.startswith("transformer.resblocks.")]
        self._num_layers = len({name.split(".")[2] for name in names})
        self._require_known()

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        """A tensor in half precision is unfolded while it is used; from the second call on it is kept so."""
        length, shape = tokens.shape[1], self._shape
        hidden = self._float32(self._tensors["token_embedding.weight"][tokens])
        hidden = hidden + self._tensor("positional_embedding")[:length]
        unseen = np.triu(np.full((length, length), shape.is_causal), 1)
        for layer in range(self._num_layers):
            block = f"transformer.resblocks.{layer}"
            hidden = hidden + self._scaled(f"{block}.ls_1", self._attention(block, hidden, unseen))
            hidden = hidden + self._scaled(f"{block}.ls_2", self._mlp(block, hidden))
        features = self._projected(self._norm("ln_final", self._pooled(hidden, tokens)))
        self._ready = {} if self._ready is None else self._ready
        return features

    @property
    def sizes(self) -> dict[str, int]:
        """As a `text_cfg` of open_clip's names them, and `inner`, the width inside a layer, and `dim`."""
        vocabulary, width = self._tensors["token_embedding.weight"].shape
        projection = self._tensors.get("text_projection")
        dim = width if projection is None else projection.shape[1]
        if "text_projection.weight" in self._tensors:
            dim = self._tensors["text_projection.weight"].shape[0]
        return {
            "width": width,
            "vocab_size": vocabulary,
            "context_length": len(self._tensors["positional_embedding"]),
            "layers": self._num_layers,
            "inner": len(self._tensors["transformer.resblocks.0.mlp.c_fc.bias"]),
            "dim": dim,
        }

    def _require_known(self) -> None:
        have = {name: tensor.shape for name, tensor in self._tensors.items()}
        try:
            width = have["ln_final.weight"][0]
            inner = have["transformer.resblocks.0.mlp.c_fc.weight"][0]
        except (KeyError, IndexError):
            raise NeedsTorch("its tensors are not those of a transformer of CLIP's kind") from None
        if width % self._shape.heads:
            raise NeedsTorch(f"its width {width} is no multiple of {self._shape.heads} heads")
        per_layer = {
            "ln_1.weight": (width,), "ln_1.bias": (width,), "ln_2.weight": (width,), "ln_2.bias": (width,),
            "attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width), "attn.out_proj.bias": (width,),
            "mlp.c_fc.weight": (inner, width), "mlp.c_fc.bias": (inner,),
            "mlp.c_proj.weight": (width, inner), "mlp.c_proj.bias": (width,),
        }  # fmt: skip
        expected: dict[str, tuple[int, ...]] = {"ln_final.weight": (width,), "ln_final.bias": (width,)}
        for layer in range(self._num_layers):
            block = f"transformer.resblocks.{layer}"
            expected |= {f"{block}.{name}": shape for name, shape in per_layer.items()}
            scales = (f"{block}.{name}.gamma" for name in ("ls_1", "ls_2"))
            expected |= {name: (width,) for name in scales if name in have}
        ends = {"token_embedding.weight": 2, "positional_embedding": 2}
        if "text_projection.weight" in have:
            ends |= {
                "text_projection.weight": 2,
                **{name: 1 for name in have if name == "text_projection.bias"},
            }
        elif "text_projection" in have:
            ends["text_projection"] = 2
        if have.keys() != expected.keys() | ends.keys():
            odd = sorted(have.keys() ^ (expected.keys() | ends.keys()))[0]
            raise NeedsTorch(f"it {'has' if odd in have else 'lacks'} the tensor {odd!r}")
        others = [name for name, shape in expected.items() if have[name] != shape]
        others += [name for name, axes in ends.items() if len(have[name]) != axes]
        if others:
            raise NeedsTorch(f"its tensor {others[0]!r} has another shape")

    def _attention(self, block: str, hidden: np.ndarray, unseen: np.ndarray) -> np.ndarray:
        num_texts, length, width = hidden.shape
        normed = self._norm(f"{block}.ln_1", hidden)
        whole = self._linear(normed, f"{block}.attn.in_proj_weight", f"{block}.attn.in_proj_bias")
        parts = whole.reshape(num_texts, length, 3, self._shape.heads, -1).transpose(2, 0, 3, 1, 4)
        queries, keys, values = parts  # [B, H, L, W / H] each
        scores = (queries * np.float32(queries.shape[-1] ** -0.5)) @ keys.swapaxes(-1, -2)
        scores = np.where(unseen, np.float32(-np.inf), scores)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = (weights @ values).transpose(0, 2, 1, 3).reshape(num_texts, length, width)
        return self._linear(mixed, f"{block}.attn.out_proj.weight", f"{block}.attn.out_proj.bias")

    def _mlp(self, block: str, hidden: np.ndarray) -> np.ndarray:
        normed = self._norm(f"{block}.ln_2", hidden)
        inner = self._linear(normed, f"{block}.mlp.c_fc.weight", f"{block}.mlp.c_fc.bias")
        inner = _ACTIVATIONS[self._shape.activation](inner)
        return self._linear(inner, f"{block}.mlp.c_proj.weight", f"{block}.mlp.c_proj.bias")

    def _scaled(self, name: str, values: np.ndarray) -> np.ndarray:
        return values * self._tensor(f"{name}.gamma") if f"{name}.gamma" in self._tensors else values

    def _norm(self, name: str, values: np.ndarray) -> np.ndarray:
        centred = values - values.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normed = centred / np.sqrt(variance + np.float32(self._shape.eps))
        scaled: np.ndarray = normed * self._tensor(f"{name}.weight") + self._tensor(f"{name}.bias")
        return scaled

    def _linear(self, values: np.ndarray, weight: str, bias: str) -> np.ndarray:
        found = product(values.reshape(-1, values.shape[-1]), self._tensor(weight)) + self._tensor(bias)
        linear: np.ndarray = found.reshape(*values.shape[:-1], -1)
        return linear

    def _pooled(self, hidden: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """float32 [B, W]: the layer norm that follows takes each token by itself, so one is enough."""
        if self._shape.pooling in ("first", "last"):
            chosen: np.ndarray = hidden[:, 0 if self._shape.pooling == "first" else -1]
            return chosen
        is_end = tokens == (
            tokens.max(axis=1, keepdims=True) if self._shape.pooling == "argmax" else self._shape.eos_id
        )
        chosen = hidden[np.arange(len(tokens)), is_end.argmax(axis=1)]
        return chosen

    def _projected(self, pooled: np.ndarray) -> np.ndarray:
        found = pooled
        if "text_projection" in self._tensors:
            found = pooled @ self._tensor("text_projection")
        elif "text_projection.weight" in self._tensors:
            found = pooled @ self._tensor("text_projection.weight").T
        if "text_projection.bias" in self._tensors:
            found = found + self._tensor("text_projection.bias")
        return found

    def _tensor(self, name: str) -> np.ndarray:
        if self._ready is not None and name in self._ready:
            return self._ready[name]
        found = self._float32(self._tensors[name])
        if self._ready is not None and found.dtype != self._tensors[name].dtype:
            self._ready[name] = found
        return found

    @staticmethod
    def _float32(values: np.ndarray) -> np.ndarray:
        """float32, exactly the same numbers; float32 itself is not copied."""
        if values.dtype == BFLOAT16:
            bits: np.ndarray = np.ascontiguousarray(values).view("<u2").astype("<u4") << 16
            return bits.view("<f4")
        if values.dtype == np.float16 and values.size > 1 << 16:
            import numkong  # ten times as fast as NumPy

            return np.asarray(numkong.astype(np.ascontiguousarray(values), "float32"))
        return values.astype(np.float32, copy=False)


def product(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """float32 [num_rows, inputs] and [outputs, inputs] -> rows @ weight.T, [num_rows, outputs]."""
    num_outputs, num_inputs = weight.shape
    longest = max(1, STRIP_NUMBERS // num_inputs)
    strip = next(size for size in range(min(longest, num_outputs), 0, -1) if num_outputs % size == 0)
    if len(rows) > FEW_ROWS or 2 * strip < longest:
        whole: np.ndarray = rows @ weight.T
        return whole
    strips = weight.reshape(-1, strip, num_inputs).swapaxes(1, 2)
    found: np.ndarray = np.matmul(rows[None], strips)  # [outputs / strip, num_rows, strip]
    return found.swapaxes(0, 1).reshape(len(rows), num_outputs)


def _quick_gelu(values: np.ndarray) -> np.ndarray:
    """x sigmoid(1.702 x), OpenAI's."""
    # Beyond that the sigmoid is 0 to float32, and its exponential would overflow.
    found: np.ndarray = values / (1 + np.exp(np.minimum(np.float32(-1.702) * values, np.float32(80))))
    return found


def _gelu_tanh(values: np.ndarray) -> np.ndarray:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    inner: np.ndarray = np.float32(math.sqrt(2 / math.pi)) * (
        values + np.float32(0.044715) * values * values * values
    )
    found: np.ndarray = np.float32(0.5) * values * (1 + np.tanh(inner))
    return found


def _gelu(values: np.ndarray) -> np.ndarray:
    """x Phi(x), Phi the normal distribution; NumPy has no erf, so Phi by the second-order Taylor series about the
    nearest entry of a table, to 1e-9 and so to float32's digits."""
    distribution, density = _normal_table()
    inside = np.clip(values, -_TABLE_END, _TABLE_END)
    places = np.rint((inside + np.float32(_TABLE_END)) * np.float32(_TABLE_STEPS)).astype(np.int32)
    near = places.astype(np.float32) * np.float32(1 / _TABLE_STEPS) - np.float32(_TABLE_END)
    step = inside - near
    series = distribution[places] + step * density[places] * (1 - near * step * np.float32(0.5))
    found: np.ndarray = values * series
    return found


@cache
def _normal_table() -> tuple[np.ndarray, np.ndarray]:
    """float32 [steps] each: the normal distribution and its density from -6 to 6; beyond them it is 0 and 1."""
    points = np.arange(2 * _TABLE_END * _TABLE_STEPS + 1) / _TABLE_STEPS - _TABLE_END
    distribution = np.array([0.5 * math.erfc(-point / math.sqrt(2)) for point in points.tolist()])
    distribution[[0, -1]] = 0, 1
    density = np.exp(-0.5 * points**2) / math.sqrt(2 * math.pi)
    density[[0, -1]] = 0
    return distribution.astype(np.float32), density.astype(np.float32)


_ACTIVATIONS: dict[Activation, Callable[[np.ndarray], np.ndarray]] = {
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
}


class TextBackbone:
    """The text tower alone, for a few texts. See `vtrcli.model.backbone.Backbone`.

    Args:
        row: a text, and how many tokens are read of it -> its ids, and whether it was cut.
        cut: see `Backbone.cut_text`.
    """

    device, precision = "cpu", "float32"

    def __init__(
        self,
        tower: TextTower,
        described: Description,
        *,
        row: Callable[[str, int | None], tuple[list[int], bool]],
        cut: Callable[[str, int | None], str],
    ) -> None:
        self._tower, self._row, self._cut = tower, row, cut
        self.info, self.preprocessing = described

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """Raises UsageError: there is no image tower here."""
        raise self._without_images()

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Raises UsageError, as `encode_images`."""
        raise self._without_images()

    def _without_images(self) -> UsageError:
        return UsageError(
            f"only the text tower of {self.info.name} is loaded",
            allowed="this needs the image tower",
            to_do="load the backbone with towers='both' or towers='image'",
        )

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """See `Backbone.encode_texts`."""
        if isinstance(texts, str):
            raise InputError("one text", allowed="a list of texts", to_do="pass [text]")
        rows = [self._row(text, max_tokens) for text in texts]
        size = batch_size or (
            TEXTS_AT_ONCE_ALONE if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else TEXTS_AT_ONCE
        )
        parts = [
            encode_rows(rows[first : first + size], self._tower, dim=self.info.dim, batch_size=batch_size)
            for first in range(0, max(1, len(rows)), size)
        ]
        features = np.concatenate([part.features for part in parts])
        require_finite(features, name=self.info.name, precision=self.precision)
        return TextFeatures(features=features, was_cut=np.concatenate([part.was_cut for part in parts]))

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """See `Backbone.cut_text`."""
        return self._cut(text, max_tokens)
