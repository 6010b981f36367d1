"""CLIP in torch: made of clip-anytorch's definition, filled from a converted file, written as one, and asked.

`import clip` fails on a current Python (it wants pkg_resources and torchvision), but `clip/model.py` needs neither. It
is loaded by its place on disk; the package's `__init__` never runs.

Nothing is initialised and the file is mapped, so that only the tensors asked for are ever touched; the tower
that is left out stays on the meta device. Reading other people's formats is left to formats.py.

Tokens are as clip.tokenize makes them, batches cut to their longest text: attention in the text tower is causal and
the feature is read at the end token, so what stands behind that token changes nothing. Cutting is exact, and several
times faster than always computing 77 positions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

from vtrcli.errors import InputError, UsageError, WeightsError
from vtrcli.files import remove_abandoned, replacing
from vtrcli.model.backbone import (
    TextFeatures,
    Towers,
    encode_rows,
    pixels_on,
    require_finite,
    require_frames,
    scaled_pixels,
)
from vtrcli.model.byte_pairs import clip_file
from vtrcli.model.clip.converted import (
    FORMAT,
    VERSION,
    ClipConfig,
    another_model,
    damaged,
    infer_config,
    read_header,
)
from vtrcli.model.clip.image_tower import ImageTower
from vtrcli.model.clip.tokens import cut_text, token_limit, tokenize
from vtrcli.store.config import Description


class _WithoutInitialisation(TorchFunctionMode):
    """Skips random initialisation: 15 ms for ViT-B/32 where it would take 2 s and touch 600 MB."""

    # Building on the meta device directly would import torch._dynamo, 1 s.
    _FILLS = frozenset({torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.fill_, torch.Tensor.zero_})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._FILLS or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def empty_clip(config: ClipConfig) -> Any:
    """A `clip.model.CLIP` of these sizes in eval mode, all its tensors on the meta device."""
    with _WithoutInitialisation():
        model = clip_model_module().CLIP(**asdict(config))
    model.to("meta")
    mask = model.build_attention_mask()  # [context_length, context_length]; not part of the state dict
    for block in model.transformer.resblocks:
        block.attn_mask = mask
    return model.eval()


def load_clip(path: Path, *, device: str, dtype: torch.dtype, towers: Towers = "both") -> Any:
    """`clip.model.CLIP` from a converted file on `device`, in `dtype` where clip.model.convert_weights would cast.

    Normalisation layers stay float32 (they compute in it), the token embedding keeps the file's dtype (looking
    a row up is exact in any), everything else is cast. Raises WeightsError.
    """
    model = empty_clip(read_header(path).config)
    model.visual.to(dtype)  # CLIP.dtype asks the image tower, also where it is left out
    norms = _norm_keys(model)
    state = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                if _wanted(key, towers):
                    tensor = file.get_tensor(key)
                    state[key] = tensor.to(device=device, dtype=_dtype(key, tensor, norms=norms, dtype=dtype))
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except SafetensorError as error:
        raise damaged(path, str(error)) from error
    except RuntimeError as error:
        raise another_model(str(path), "its tensors have other shapes") from error
    missing = [key for key in missing if _wanted(key, towers)]
    if missing or unexpected:
        raise another_model(str(path), f"missing {missing[:1]}, unexpected {unexpected[:1]}")
    return model


def recast_clip(model: Any, *, dtype: torch.dtype) -> Any:
    """What `load_clip` would give in `dtype` for a model whose weights were saved now; tensors that need no cast are
    shared with `model`."""
    state = model.state_dict()
    recast = empty_clip(
        infer_config({key: tensor.shape for key, tensor in state.items()}, source="the model")
    )
    recast.visual.to(dtype)  # as in `load_clip`
    norms = _norm_keys(recast)
    recast.load_state_dict(
        {key: tensor.to(_dtype(key, tensor, norms=norms, dtype=dtype)) for key, tensor in state.items()},
        assign=True,
    )
    return recast


def _wanted(key: str, towers: Towers) -> bool:
    if towers == "both" or key == "logit_scale":
        return True
    return key.startswith("visual.") == (towers == "image")


def _norm_keys(model: Any) -> frozenset[str]:
    kinds = (torch.nn.LayerNorm, torch.nn.BatchNorm2d)
    return frozenset(
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        for key in module.state_dict()
    )


def _dtype(key: str, tensor: torch.Tensor, *, norms: frozenset[str], dtype: torch.dtype) -> torch.dtype:
    if not tensor.is_floating_point() or key == "token_embedding.weight":
        return tensor.dtype
    if key in norms or key == "logit_scale":
        return torch.float32
    return dtype


def clip_model_module() -> ModuleType:
    """`clip.model`: the one definition of CLIP (imports torch)."""
    return clip_file("model")


# Not weights: build_model skips the first three, the mask is made anew.
_EXTRAS = ("input_resolution", "context_length", "vocab_size")
_MASK = "attn_mask"


def save_converted(
    weights: torch.nn.Module | Mapping[str, torch.Tensor], path: Path, *, name: str, source: str = ""
) -> Path:
    """Write a CLIP model or its state dict as converted weights; each tensor keeps its dtype.

    `name` is what the file calls itself, `source` what it was made from. The file is there whole or not at
    all. Raises WeightsError when the weights are not CLIP's or not finite, or the file cannot be written.
    """
    state = weights.state_dict() if isinstance(weights, torch.nn.Module) else weights
    state, config = checked_state(state, source=source or name)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "name": name,
        "source": source,
        "sha256": content_sha256(state),
        "logit_scale": repr(math.exp(float(state["logit_scale"]))),
        "config": json.dumps(asdict(config)),
    }
    remove_abandoned(path.parent)
    with replacing(path, error=WeightsError) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(state, temporary, metadata=metadata)
        except SafetensorError as error:  # a full disk, in safetensors' words
            raise OSError(str(error)) from error
    return path


def content_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """The identity of weights: the same from a .pt, a safetensors file or a Hugging Face folder.

    SHA-256 over names in order, shapes and little-endian float32 values of all parameters (our choice).
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        if state[key].is_floating_point():
            values = state[key].detach().float().cpu().contiguous().numpy().astype("<f4", copy=False)
            digest.update(f"{key}{list(values.shape)}".encode())
            digest.update(values.data)
    return digest.hexdigest()


def checked_state(
    state: Mapping[str, torch.Tensor], *, source: str
) -> tuple[dict[str, torch.Tensor], ClipConfig]:
    """The tensors of a CLIP alone, contiguous on the CPU, and their sizes. Raises WeightsError.

    Every tensor of the model must be there with its shape, finite, and nothing unknown beside them.
    """
    state = {
        key: tensor for key, tensor in state.items() if key not in _EXTRAS and key.split(".")[-1] != _MASK
    }
    config = infer_config({key: tuple(tensor.shape) for key, tensor in state.items()}, source=source)
    expected = {key: tuple(tensor.shape) for key, tensor in empty_clip(config).state_dict().items()}
    for key, shape in expected.items():
        if key not in state:
            raise another_model(source, f"it has no tensor '{key}'")
        if tuple(state[key].shape) != shape:
            raise another_model(source, f"'{key}' has shape {list(state[key].shape)}, not {list(shape)}")
        if not bool(torch.isfinite(state[key]).all()):
            raise WeightsError(
                f"{source} has values in '{key}' that are NaN or infinite",
                allowed="all weights are finite",
                to_do="get the file again, or take an earlier checkpoint",
            )
    unknown = sorted(state.keys() - expected.keys())
    if unknown:
        raise another_model(source, f"it has an unknown tensor '{unknown[0]}'")
    return {key: _own_memory(state[key]) for key in expected}, config


def _own_memory(tensor: torch.Tensor) -> torch.Tensor:
    # safetensors refuses tensors that are views into a larger or a shared storage
    tensor = tensor.detach().cpu().contiguous()
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


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
        is_vit = hasattr(model.visual, "class_embedding")
        self._image_tower = (
            ImageTower(model.visual, self.preprocessing) if is_vit and towers != "text" else None
        )

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """See `Backbone.encode_images`: why rows are bit-identical is told in docs/backbones.md."""
        self._require("image")
        require_frames(frames, self.preprocessing)
        if not len(frames):
            return np.zeros((0, self.info.dim), np.float32)
        found: np.ndarray = self.encode_pixels(pixels_on(self.device, frames)).cpu().numpy()
        return require_finite(found, name=self.info.name, precision=self.precision)

    @torch.inference_mode()
    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Backbone.encode_pixels`."""
        self._require("image")
        features: torch.Tensor
        if self._image_tower is not None:
            features = self._image_tower(pixels)
        else:  # a ResNet
            features = self.model.encode_image(scaled_pixels(pixels, self.preprocessing))
        return features.float()

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

        def encode(tokens: np.ndarray) -> np.ndarray:
            found: np.ndarray = self.encode_tokens(torch.from_numpy(tokens)).cpu().numpy()
            return require_finite(found, name=self.info.name, precision=self.precision)

        return encode_rows(rows, encode, dim=self.info.dim, batch_size=batch_size)

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


def pad_tokens(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """int64 [num_rows, longest row], zeros behind the end token."""
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
    return tokens
