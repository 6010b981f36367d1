"""Loading whole models and single towers from the mapped file."""

from __future__ import annotations

import hashlib
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.model.tiny_clip import random_state_dict, tiny_state_dict, write_tiny_clip
from vtrcli.errors import InputError, WeightsError
from vtrcli.model.byte_pairs import clip_file
from vtrcli.model.clip.converted import ClipConfig, read_header
from vtrcli.model.clip.model import (
    clip_model_module,
    content_sha256,
    load_clip,
    pad_tokens,
    save_converted,
)
from vtrcli.model.clip.tokens import clip_tokenizer, cut_text, tokenize
from vtrcli.model.families import load_backbone


@pytest.fixture(scope="module")
def tiny(weights):
    return Path(weights)


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
        clip_file("nothing")
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


_START, _END = 49406, 49407
_CAT = [_START, 320, 1125, 539, 320, 2368, _END]  # "a photo of a cat", as in OpenAI's own example


@pytest.fixture(scope="module")
def backbone(weights):
    return load_backbone(weights, device="cpu", precision="float32")


def test_tokens_are_clips():
    assert tokenize("A photo of  a\ncat", context_length=77) == (_CAT, False)
    assert tokenize("", context_length=77) == ([_START, _END], False)


@pytest.mark.parametrize(("num_words", "was_cut"), [(75, False), (76, True)])
def test_a_text_over_the_context_is_cut_and_keeps_its_end(num_words, was_cut):
    tokens, cut = tokenize("cat " * num_words, context_length=77)
    assert (len(tokens), tokens[-1], cut) == (77, _END, was_cut)


@pytest.mark.parametrize("num_words", [10, 29, 30, 31, 200])
def test_a_limit_counts_start_and_end_as_max_words_does(backbone, num_words):
    text, max_words = "cat " * num_words, 32
    words = clip_tokenizer().encode(text)
    expected = [*[_START, *words][: max_words - 1], _END]  # CLIP4Clip's loaders
    assert tokenize(text, context_length=max_words)[0] == expected
    limited = backbone.encode_texts([text], max_tokens=max_words)
    assert limited.num_cut == (num_words > 30)
    np.testing.assert_array_equal(
        limited.features, backbone.encode_texts(["cat " * min(num_words, 30)]).features
    )


def test_a_limit_above_the_context_is_the_context(backbone):
    text = "cat " * 200
    np.testing.assert_array_equal(
        backbone.encode_texts([text], max_tokens=500).features, backbone.encode_texts([text]).features
    )


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.integers(3, 12))
def test_a_cut_text_is_made_of_the_words_that_are_read(text, max_tokens):
    cut = cut_text(text, max_tokens)
    if not tokenize(text, context_length=max_tokens)[1]:
        assert cut == text
    else:
        words = text.split()
        assert cut.split() == words[: len(cut.split())]
        assert not tokenize(cut, context_length=max_tokens)[1]


def test_words_behind_the_limit_are_not_cut_into_streams():
    assert cut_text("a man rides a horse on a beach", 5) == "a man rides"
    assert cut_text("a man rides a horse on a beach", None) == "a man rides a horse on a beach"


def test_one_endless_word_does_not_take_endless_time():
    started = time.monotonic()
    tokens, cut = tokenize("ab" * 1_000_000, context_length=77)
    assert (len(tokens), cut) == (77, True)
    assert time.monotonic() - started < 30


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60))
def test_a_short_text_gives_the_same_feature_as_all_77_positions(backbone, text):
    tokens = pad_tokens([tokenize(text, context_length=77)[0]])
    full = torch.nn.functional.pad(tokens, (0, 77 - tokens.shape[1]))
    with torch.inference_mode():
        expected = backbone.model.encode_text(full).numpy()
    features = backbone.encode_texts([text]).features
    scale = np.linalg.norm(expected)
    np.testing.assert_allclose(features / scale, expected / scale, atol=1e-5)


def test_features_come_in_the_order_of_the_texts_whatever_the_batches(backbone):
    texts = ["a cat", "a man is cooking in a large kitchen", "", "dogs", "a photo of a cat " * 30]
    one_by_one = np.concatenate([backbone.encode_texts([text]).features for text in texts])
    batched = backbone.encode_texts(texts, batch_size=2)
    np.testing.assert_allclose(batched.features, one_by_one, atol=1e-4)
    assert batched.features.dtype == np.float32
    assert batched.num_cut == 1


def test_with_a_batch_size_a_feature_does_not_depend_on_the_other_texts(backbone):
    texts = [f"{'a ' * (number % 5)}man number {number} is cooking" for number in range(90)]
    together = backbone.encode_texts(texts, batch_size=16).features
    for chosen in ([7], range(3, 60, 4), range(89, -1, -1)):
        alone = backbone.encode_texts([texts[number] for number in chosen], batch_size=16).features
        np.testing.assert_array_equal(alone, together[list(chosen)])


def test_no_texts_give_no_rows(backbone):
    assert backbone.encode_texts([]).features.shape == (0, 32)


def test_one_string_is_not_a_list_of_texts(backbone):
    with pytest.raises(InputError, match=r"one text; a list of texts; pass \[text\]"):
        backbone.encode_texts("a man cooking")


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def test_pil_pixels_and_clips_own_forward_give_the_same_features(weights):
    picture = Image.effect_mandelbrot((80, 48), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    resized = picture.resize((53, 32), Image.Resampling.BICUBIC).crop((10, 0, 42, 32))
    pixels = torch.tensor(np.array(resized)).permute(2, 0, 1).float().div(255)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    backbone = load_backbone(weights, device="cpu", precision="float32")
    with torch.inference_mode():
        expected = backbone.model.encode_image(((pixels - mean) / std)[None]).numpy()
    np.testing.assert_allclose(backbone.encode_images(np.array(resized)[None]), expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_row_is_bit_identical_wherever_it_stands_in_a_batch(weights, frames, precision):
    backbone = load_backbone(weights, device="cpu", precision=precision)
    features = backbone.encode_images(frames)
    for shift in range(1, len(frames)):
        np.testing.assert_array_equal(
            backbone.encode_images(np.roll(frames, shift, axis=0)), np.roll(features, shift, axis=0)
        )
    alone = np.zeros_like(frames)
    alone[0] = frames[5]
    np.testing.assert_array_equal(backbone.encode_images(alone)[0], features[5])


def test_bfloat16_points_where_float32_points(weights, frames):
    exact = load_backbone(weights, device="cpu", precision="float32").encode_images(frames)
    rounded = load_backbone(weights, device="cpu", precision="bfloat16").encode_images(frames)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    assert ((exact * rounded).sum(axis=1) / norms).min() >= 0.999


def test_frames_over_a_pipes_buffer_and_turned_frames_are_read_as_they_are(weights, frames):
    backbone = load_backbone(weights, device="cpu", precision="float32")
    over_buffer = np.frombuffer(frames.tobytes(), np.uint8).reshape(frames.shape)  # cannot be written
    np.testing.assert_array_equal(backbone.encode_images(over_buffer), backbone.encode_images(frames))
    mirrored = frames[:, :, ::-1]
    np.testing.assert_array_equal(
        backbone.encode_images(mirrored), backbone.encode_images(np.ascontiguousarray(mirrored))
    )


def test_no_frames_give_no_rows(weights):
    features = load_backbone(weights, device="cpu").encode_images(np.zeros((0, 32, 32, 3), np.uint8))
    assert features.shape == (0, 32)
    assert features.dtype == np.float32


@pytest.mark.parametrize(
    ("wrong", "came_in"),
    [
        (np.zeros((2, 32, 32, 3), np.float32), "frames of type float32 and shape [2, 32, 32, 3]"),
        (np.zeros((2, 3, 32, 32), np.uint8), "frames of type uint8 and shape [2, 3, 32, 32]"),
    ],
)
def test_other_frames_are_refused(weights, wrong, came_in):
    with pytest.raises(InputError) as error:
        load_backbone(weights, device="cpu").encode_images(wrong)
    assert str(error.value) == (
        f"{came_in}; uint8 RGB frames of shape [batch, 32, 32, 3]; "
        "decode the frames with the backbone's input size"
    )
