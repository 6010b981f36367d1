"""Loading whole models and single towers from the mapped file."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.model.tiny_clip import random_state_dict, tiny_state_dict, write_tiny_clip
from vtrcli.errors import WeightsError
from vtrcli.model.clip_config import ClipConfig
from vtrcli.model.clip_loading import load_clip
from vtrcli.model.clip_package import clip_model_module
from vtrcli.model.save_converted import save_converted


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")


def test_the_model_is_the_one_clip_builds(tiny):
    ours = load_clip(tiny, device="cpu", dtype=torch.float32)
    theirs = clip_model_module().build_model(tiny_state_dict()).float()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = torch.tensor([[49406, 320, 49407, 0], [49406, 320, 786, 49407]])
    padded = torch.nn.functional.pad(texts, (0, 73))
    with torch.inference_mode():
        assert torch.equal(ours.encode_image(images), theirs.encode_image(images))
        assert torch.equal(ours.encode_text(padded), theirs.encode_text(padded))
    assert not ours.training


@pytest.mark.parametrize("towers", ["text", "image"])
def test_the_other_tower_stays_on_the_meta_device(tiny, towers):
    model = load_clip(tiny, device="cpu", dtype=torch.float32, towers=towers)
    for key, parameter in model.named_parameters():
        is_visual = key.startswith("visual.")
        wanted = key == "logit_scale" or is_visual == (towers == "image")
        assert parameter.is_meta != wanted, key


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("towers", ["both", "text"])
def test_normalisation_stays_float32_and_the_embedding_as_it_is_stored(tiny, dtype, towers):
    model = load_clip(tiny, device="cpu", dtype=dtype, towers=towers)
    assert model.dtype == dtype
    assert model.token_embedding.weight.dtype == torch.float16
    assert model.logit_scale.dtype == model.ln_final.weight.dtype == torch.float32
    block = model.transformer.resblocks[0]
    assert (
        block.attn.in_proj_weight.dtype == block.mlp.c_fc.bias.dtype == model.text_projection.dtype == dtype
    )


def test_changing_a_parameter_leaves_the_file_alone(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    before = path.read_bytes()
    model = load_clip(path, device="cpu", dtype=torch.float16)  # as stored: the tensors are the mapping
    with torch.no_grad():
        model.visual.proj.zero_()
    assert path.read_bytes() == before


def test_a_resnet_clip_loads_and_runs(tmp_path):
    config = ClipConfig(
        embed_dim=8,
        image_resolution=32,
        vision_layers=(1, 1, 1, 1),
        vision_width=2,
        vision_patch_size=None,
        context_length=8,
        vocab_size=100,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=1,
    )
    state = random_state_dict(config)
    path = save_converted(state, tmp_path / "rn.safetensors", name="rn")
    theirs = clip_model_module().build_model(dict(state)).float()
    ours = load_clip(path, device="cpu", dtype=torch.float32)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(ours.encode_image(image), theirs.encode_image(image))


def test_a_file_without_one_of_the_tensors_is_refused(tiny, tmp_path):
    path = tmp_path / "cut.safetensors"
    with safe_open(tiny, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    del state["ln_final.bias"]
    save_file(state, path, metadata=metadata)
    with pytest.raises(WeightsError, match=r"another model: missing \['ln_final.bias'\], unexpected \[\]"):
        load_clip(path, device="cpu", dtype=torch.float32)
