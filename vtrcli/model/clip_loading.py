"""Builds `clip.model.CLIP` and fills it from a converted file, whole or one tower of it.

Nothing is initialised and the file is mapped, so that only the tensors asked for are ever touched; the tower
that is left out stays on the meta device. Which precision is right is left to precision.py.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from vtrcli.model.clip_config import ClipConfig, another_model, infer_config
from vtrcli.model.clip_package import clip_model_module
from vtrcli.model.converted import damaged, read_header
from vtrcli.model.precision import Towers


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
