"""The backbone as the other rooms see it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.model.tiny_clip import write_tiny_clip
from vtrcli.errors import UsageError
from vtrcli.model.backbone import BackboneInfo, backbone_info, load_backbone


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")


def test_info_holds_what_a_store_must_know(tiny):
    backbone = load_backbone(str(tiny), device="cpu")
    assert backbone.info == backbone_info(str(tiny))
    assert backbone.info == BackboneInfo(
        name=str(tiny),
        sha256=backbone.info.sha256,
        dim=32,
        input_size=32,
        context_length=77,
        logit_scale=pytest.approx(100.0),
    )


def test_a_relative_path_is_called_by_its_absolute_one(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    assert backbone_info(tiny.name).name == str(tiny.resolve())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_tower_alone_gives_the_same_features(tiny, precision):
    both, text, image = (
        load_backbone(str(tiny), device="cpu", precision=precision, towers=towers)
        for towers in ("both", "text", "image")
    )
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(image.encode_images(frames), both.encode_images(frames))
    texts = ["a man cooking", "a dog"]
    np.testing.assert_array_equal(text.encode_texts(texts).features, both.encode_texts(texts).features)


def test_the_tower_that_was_left_out_is_missed_clearly(tiny):
    backbone = load_backbone(str(tiny), device="cpu", towers="text")
    with pytest.raises(UsageError) as error:
        backbone.encode_images(np.zeros((1, 32, 32, 3), np.uint8))
    assert str(error.value) == (
        f"only the text tower of {tiny} is loaded; this needs the image tower; "
        "load the backbone with towers='both' or towers='image'"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_half_precision_on_the_gpu_points_where_float32_points(tiny):
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    exact = load_backbone(str(tiny), device="cpu", precision="float32").encode_images(frames)
    half = load_backbone(str(tiny), device="cuda")
    assert half.precision == "float16"
    rounded = half.encode_images(frames)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    assert ((exact * rounded).sum(axis=1) / norms).min() >= 0.999
