"""Features by less arithmetic, against CLIP's own forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vtrcli.model.backbone import normalised_pixels
from vtrcli.model.families import load_backbone


def _frames(backbone, count):
    return np.random.default_rng(0).integers(0, 256, (count, *backbone.preprocessing.shape), np.uint8)


def _clips_own(backbone, frames):
    pixels = normalised_pixels(frames, backbone.preprocessing, device="cpu")
    with torch.inference_mode():
        return backbone.model.encode_image(pixels).float().numpy()


@pytest.fixture(params=["tiny", "demo"])
def name(request, weights):
    return weights if request.param == "tiny" else "demo"


@pytest.mark.parametrize("num_frames", [1, 7])
def test_in_float32_they_are_those_of_clips_own_forward(name, num_frames):
    backbone = load_backbone(name, device="cpu", precision="float32", towers="image")
    frames = _frames(backbone, num_frames)
    expected = _clips_own(backbone, frames)
    np.testing.assert_allclose(backbone.encode_images(frames), expected, atol=1e-5 * np.abs(expected).max())


def test_in_bfloat16_they_are_as_near_to_float32_as_clips_own_forward(name):
    exact, rounded = (
        load_backbone(name, device="cpu", precision=precision, towers="image")
        for precision in ("float32", "bfloat16")
    )
    frames = _frames(exact, 64)
    wanted = exact.encode_images(frames)
    ours, theirs = (
        np.linalg.norm(found - wanted)
        for found in (rounded.encode_images(frames), _clips_own(rounded, frames))
    )
    assert ours < 1.25 * theirs


def test_a_run_with_the_text_tower_alone_needs_no_image_tower(name):
    assert load_backbone(name, device="cpu", towers="text").encode_texts(["a cat"]).features.shape[0] == 1
