"""Frames -> features: the same as PIL, clip's constants and CLIP's own forward, and bit-exact row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model.tiny_clip import write_tiny_clip
from vtrcli.errors import InputError
from vtrcli.model.backbone import load_backbone


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
