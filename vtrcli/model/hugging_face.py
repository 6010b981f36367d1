"""A Hugging Face CLIP folder (config.json + model.safetensors) -> a state dict with OpenAI's names.

The same numbers under other names: q, k and v lie apart, the two projections transposed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vtrcli.errors import WeightsError
from vtrcli.model.known_models import HUGGING_FACE_FILES

_CONFIG, _WEIGHTS = HUGGING_FACE_FILES

_NAMES = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
}
_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_MODULES = {
    "text_model.final_layer_norm": "ln_final",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # their spelling
    "vision_model.post_layernorm": "visual.ln_post",
}
_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}
_BLOCK_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
# k and v are joined when their q comes; positions are no weights.
_SKIPPED = (".k_proj.weight", ".k_proj.bias", ".v_proj.weight", ".v_proj.bias", ".position_ids")
_BLOCK = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def read_folder(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of a Hugging Face CLIP folder. Raises WeightsError."""
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise _unusable(folder, f"it has no {name}")
    try:
        _check_config(json.loads((folder / _CONFIG).read_text(encoding="utf-8")), folder)
        return openai_names(load_file(folder / _WEIGHTS))
    except (ValueError, AttributeError) as error:  # not JSON, or JSON of another build
        raise _unusable(folder, f"{_CONFIG} is damaged") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        raise _unusable(folder, f"{_WEIGHTS} is damaged ({error})") from error


def openai_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename, join q, k, v and transpose the projections; unknown names are kept for the check that follows."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        block = _BLOCK.fullmatch(name)
        if name.endswith(_SKIPPED):
            continue
        if name in _TRANSPOSED:
            state[_TRANSPOSED[name]] = tensor.t()
        elif block and block[3] == "self_attn.q_proj":
            parts = [tensors.get(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
            present = [part for part in parts if part is not None]
            state[f"{_TOWERS[block[1]]}.resblocks.{block[2]}.attn.in_proj_{kind}"] = torch.cat(present)
        elif block and block[3] in _BLOCK_PARTS:
            state[f"{_TOWERS[block[1]]}.resblocks.{block[2]}.{_BLOCK_PARTS[block[3]]}.{kind}"] = tensor
        elif module in _MODULES:
            state[f"{_MODULES[module]}.{kind}"] = tensor
        else:
            state[_NAMES.get(name, name)] = tensor
    return state


def _check_config(config: Any, folder: Path) -> None:
    """Refuse what the shapes cannot show: another activation or number of heads. The defaults are theirs."""
    model_type = config.get("model_type", "clip")
    if model_type != "clip":
        raise _unusable(folder, f"its model_type is {model_type!r}")
    for part, width, heads in (("text_config", 512, 8), ("vision_config", 768, 12)):
        values = config.get(part) or {}
        activation = values.get("hidden_act", "quick_gelu")
        if activation != "quick_gelu":
            raise _unusable(folder, f"{part} says hidden_act {activation!r}, CLIP's is 'quick_gelu'")
        width, heads = values.get("hidden_size", width), values.get("num_attention_heads", heads)
        if heads * 64 != width:
            raise _unusable(folder, f"{part} says {heads} heads for width {width}, CLIP has one per 64")


def _unusable(folder: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{folder} cannot be used as weights: {why}",
        allowed=f"a Hugging Face CLIP folder holds {_CONFIG} (model_type clip) and {_WEIGHTS}",
        to_do="download the whole folder again, or pass another model",
    )
