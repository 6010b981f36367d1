"""Loading whole models and single towers from the mapped file."""

from __future__ import annotations

import hashlib
import struct
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.model.tiny_clip import random_state_dict, tiny_state_dict, write_tiny_clip
from vtrcli.errors import WeightsError
from vtrcli.model.clip.converted import ClipConfig, read_header
from vtrcli.model.clip.model import (
    _load,
    clip_model_module,
    clip_tokenizer,
    content_sha256,
    load_clip,
    save_converted,
)


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


def test_the_package_init_never_runs():
    assert clip_model_module().CLIP
    assert clip_tokenizer().encode("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert "clip" not in sys.modules


def test_the_tokenizer_is_made_once_per_process():
    assert clip_tokenizer() is clip_tokenizer()


def test_a_missing_module_says_what_to_install():
    with pytest.raises(WeightsError) as error:
        _load("nothing")
    assert str(error.value) == (
        "clip/nothing.py was not found; the package clip-anytorch 2.6 or later must be installed; "
        "run: python -m pip install 'clip-anytorch>=2.6'"
    )


def test_identity_depends_on_values_not_on_dtype_or_order():
    state = tiny_state_dict()
    wider = {key: tensor.float() for key, tensor in reversed(state.items())}
    assert content_sha256(wider) == content_sha256(state)


def test_identity_changes_with_one_value_and_with_a_shape():
    state = tiny_state_dict()
    changed = state | {"visual.proj": state["visual.proj"].clone()}
    changed["visual.proj"][0, 0] += 1
    transposed = state | {"visual.proj": state["visual.proj"].t()}
    assert len({content_sha256(each) for each in (state, changed, transposed)}) == 3


def test_identity_is_made_of_names_shapes_and_float32_values():
    content = b"a[2, 1]" + struct.pack("<2f", 0.25, -1) + b"b[]" + struct.pack("<f", 1.5)
    state = {"b": torch.tensor(1.5), "a": torch.tensor([[0.25], [-1]]).half(), "count": torch.tensor(3)}
    assert content_sha256(state) == hashlib.sha256(content).hexdigest()


def test_a_model_and_its_state_dict_give_the_same_identity(tmp_path):
    model = clip_model_module().build_model(tiny_state_dict()).float()
    one = save_converted(model, tmp_path / "one.safetensors", name="tiny")
    two = save_converted(tiny_state_dict(), tmp_path / "two.safetensors", name="tiny")
    assert read_header(one) == read_header(two)


def test_what_is_no_weight_is_left_out(tmp_path):
    extras = {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
        "transformer.resblocks.0.attn_mask": torch.zeros(77, 77),
    }
    path = save_converted(tiny_state_dict() | extras, tmp_path / "a.safetensors", name="tiny")
    plain = write_tiny_clip(tmp_path / "b.safetensors")
    assert read_header(path).sha256 == read_header(plain).sha256


def test_views_into_shared_memory_are_written_apart(tmp_path):
    state = tiny_state_dict()
    memory = torch.zeros(2, 64)
    state["visual.ln_pre.bias"], state["visual.ln_post.bias"] = memory[0], memory[1]
    save_converted(state, tmp_path / "a.safetensors", name="tiny")


def _broken(key, value):
    state = tiny_state_dict()
    if value is None:
        del state[key]
    else:
        state[key] = value
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (_broken("ln_final.bias", None), "it has no tensor 'ln_final.bias'"),
        (_broken("ln_final.bias", torch.zeros(3)), "'ln_final.bias' has shape [3], not [64]"),
        (_broken("head.weight", torch.zeros(3)), "it has an unknown tensor 'head.weight'"),
    ],
)
def test_another_model_is_refused(state, message, tmp_path):
    with pytest.raises(WeightsError) as error:
        save_converted(state, tmp_path / "a.safetensors", name="mine")
    assert error.value.came_in == f"mine holds the weights of another model: {message}"
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(WeightsError) as error:
        save_converted(_broken("ln_final.bias", torch.full((64,), torch.nan)), tmp_path / "a", name="mine")
    assert str(error.value) == (
        "mine has values in 'ln_final.bias' that are NaN or infinite; all weights are finite; "
        "get the file again, or take an earlier checkpoint"
    )


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot write .*: Is a directory; the folder must be writable"):
        write_tiny_clip(tmp_path)
