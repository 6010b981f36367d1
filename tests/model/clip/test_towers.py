"""Texts -> features: clip's tokens, exact cutting, order kept, long texts counted."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.model.tiny_clip import write_tiny_clip
from vtrcli.errors import InputError
from vtrcli.model.clip.model import clip_tokenizer
from vtrcli.model.clip.towers import cut_text, pad_tokens, tokenize
from vtrcli.model.families import load_backbone

_START, _END = 49406, 49407
_CAT = [_START, 320, 1125, 539, 320, 2368, _END]  # "a photo of a cat", as in OpenAI's own example


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    path = write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")
    return load_backbone(str(path), device="cpu", precision="float32")


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
def tiny(tmp_path_factory):
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def test_pil_pixels_and_clips_own_forward_give_the_same_features(tiny):
    picture = Image.effect_mandelbrot((80, 48), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    resized = picture.resize((53, 32), Image.Resampling.BICUBIC).crop((10, 0, 42, 32))
    pixels = torch.tensor(np.array(resized)).permute(2, 0, 1).float().div(255)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    backbone = load_backbone(tiny, device="cpu", precision="float32")
    with torch.inference_mode():
        expected = backbone.model.encode_image(((pixels - mean) / std)[None]).numpy()
    np.testing.assert_allclose(backbone.encode_images(np.array(resized)[None]), expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_row_is_bit_identical_wherever_it_stands_in_a_batch(tiny, frames, precision):
    backbone = load_backbone(tiny, device="cpu", precision=precision)
    features = backbone.encode_images(frames)
    for shift in range(1, len(frames)):
        np.testing.assert_array_equal(
            backbone.encode_images(np.roll(frames, shift, axis=0)), np.roll(features, shift, axis=0)
        )
    alone = np.zeros_like(frames)
    alone[0] = frames[5]
    np.testing.assert_array_equal(backbone.encode_images(alone)[0], features[5])


def test_bfloat16_points_where_float32_points(tiny, frames):
    exact = load_backbone(tiny, device="cpu", precision="float32").encode_images(frames)
    rounded = load_backbone(tiny, device="cpu", precision="bfloat16").encode_images(frames)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    assert ((exact * rounded).sum(axis=1) / norms).min() >= 0.999


def test_frames_over_a_pipes_buffer_and_turned_frames_are_read_as_they_are(tiny, frames):
    backbone = load_backbone(tiny, device="cpu", precision="float32")
    over_buffer = np.frombuffer(frames.tobytes(), np.uint8).reshape(frames.shape)  # cannot be written
    np.testing.assert_array_equal(backbone.encode_images(over_buffer), backbone.encode_images(frames))
    mirrored = frames[:, :, ::-1]
    np.testing.assert_array_equal(
        backbone.encode_images(mirrored), backbone.encode_images(np.ascontiguousarray(mirrored))
    )


def test_no_frames_give_no_rows(tiny):
    features = load_backbone(tiny, device="cpu").encode_images(np.zeros((0, 32, 32, 3), np.uint8))
    assert features.shape == (0, 32)
    assert features.dtype == np.float32


@pytest.mark.parametrize(
    ("wrong", "came_in"),
    [
        (np.zeros((2, 32, 32, 3), np.float32), "frames of type float32 and shape [2, 32, 32, 3]"),
        (np.zeros((2, 3, 32, 32), np.uint8), "frames of type uint8 and shape [2, 3, 32, 32]"),
    ],
)
def test_other_frames_are_refused(tiny, wrong, came_in):
    with pytest.raises(InputError) as error:
        load_backbone(tiny, device="cpu").encode_images(wrong)
    assert str(error.value) == (
        f"{came_in}; uint8 RGB frames of shape [batch, 32, 32, 3]; "
        "decode the frames with the backbone's input size"
    )
