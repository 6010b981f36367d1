"""The converted file: identity by content, nothing but a whole CLIP gets in."""

from __future__ import annotations

import hashlib
import struct

import pytest
import torch

from tests.model.tiny_clip import tiny_state_dict, write_tiny_clip
from vtrcli.errors import WeightsError
from vtrcli.model.clip_package import clip_model_module
from vtrcli.model.converted import read_header
from vtrcli.model.save_converted import content_sha256, save_converted


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
