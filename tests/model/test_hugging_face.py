"""A Hugging Face CLIP folder gives the weights it was made from."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from tests.model.tiny_clip import tiny_state_dict
from vtrcli.errors import WeightsError
from vtrcli.model.save_converted import checked_state, content_sha256
from vtrcli.model.weight_files import read_state_dict

# OpenAI's name -> theirs, as transformers 4.57's CLIPModel.save_pretrained writes them
_RENAMED = [
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^text_projection$", "text_projection.weight"),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.", ".self_attn."),
]
_CONFIG = {
    "model_type": "clip",
    "text_config": {"hidden_size": 64, "num_attention_heads": 1, "hidden_act": "quick_gelu"},
    "vision_config": {"hidden_size": 64, "num_attention_heads": 1},
}


def write_folder(folder, config=None):
    """The tiny model as transformers would save it."""
    tensors = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    for key, tensor in tiny_state_dict().items():
        name = key
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if name.endswith("projection.weight"):
            tensor = tensor.t()
        if "in_proj" in name:
            kind = name.rpartition("_")[2]
            for part, third in zip("qkv", tensor.float().chunk(3), strict=True):
                tensors[name.replace(f"in_proj_{kind}", f"{part}_proj.{kind}")] = third.clone()
        else:
            tensors[name] = tensor.float().contiguous()
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config or _CONFIG))
    return folder


def test_a_folder_has_the_identity_of_the_weights_it_was_made_from(tmp_path):
    state, _ = checked_state(read_state_dict(write_folder(tmp_path / "hf")), source="hf")
    assert content_sha256(state) == content_sha256(tiny_state_dict())


def _message(folder):
    with pytest.raises(WeightsError) as error:
        read_state_dict(folder)
    end = (
        "; a Hugging Face CLIP folder holds config.json (model_type clip) and model.safetensors; "
        "download the whole folder again, or pass another model"
    )
    assert str(error.value).endswith(end)
    return error.value.came_in.removeprefix(f"{folder} cannot be used as weights: ")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_says_which(tmp_path, name):
    folder = write_folder(tmp_path / "hf")
    (folder / name).unlink()
    assert _message(folder) == f"it has no {name}"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model_type": "siglip"}, "its model_type is 'siglip'"),
        (
            {"vision_config": {"hidden_act": "gelu"}},
            "vision_config says hidden_act 'gelu', CLIP's is 'quick_gelu'",
        ),
        (
            {"text_config": {"hidden_size": 64, "num_attention_heads": 2}},
            "text_config says 2 heads for width 64, CLIP has one per 64",
        ),
        ({"text_config": [1]}, "config.json is damaged"),
    ],
)
def test_a_model_that_computes_differently_is_refused(tmp_path, change, why):
    assert _message(write_folder(tmp_path / "hf", _CONFIG | change)) == why


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_config_is_named(tmp_path, content):
    folder = write_folder(tmp_path / "hf")
    (folder / "config.json").write_text(content)
    assert _message(folder) == "config.json is damaged"


def test_damaged_weights_are_named(tmp_path):
    folder = write_folder(tmp_path / "hf")
    (folder / "model.safetensors").write_bytes(b"<html>")
    assert _message(folder).startswith("model.safetensors is damaged (")
