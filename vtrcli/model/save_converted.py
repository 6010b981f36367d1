"""Writes the converted weights file that converted.py describes, and gives weights their identity.

Reading other people's formats is left to weight_files.py.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from vtrcli.errors import WeightsError
from vtrcli.files import remove_abandoned, replacing
from vtrcli.model.clip_config import ClipConfig, another_model, infer_config
from vtrcli.model.clip_loading import empty_clip
from vtrcli.model.converted import FORMAT, VERSION

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
