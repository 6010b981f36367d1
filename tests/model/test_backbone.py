"""The backbone as the other rooms see it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.model.tiny_clip import tiny_state_dict, write_overflowing_clip
from vtrcli.errors import NotFiniteError, UsageError
from vtrcli.model.backbone import (
    BackboneInfo,
    choose_device,
    choose_precision,
    cpu_has_bfloat16,
)
from vtrcli.model.clip.model import save_converted
from vtrcli.model.families import backbone_info, load_backbone


@pytest.fixture(scope="module")
def tiny(weights):
    return Path(weights)


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


def test_what_overflows_in_half_precision_goes_on_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr("vtrcli.model.backbone.fast_precisions", lambda _: ("float16", "float32"))
    monkeypatch.setattr("vtrcli.model.families.MIN_ROUNDED_COSINE", 0.0)  # as if its first use had not told
    path = str(write_overflowing_clip(tmp_path / "large.safetensors"))
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    careful = load_backbone(path, device="cpu")
    assert careful.precision == "float16"
    texts = careful.encode_texts(["red"]).features  # these fit
    assert np.isfinite(texts).all() and careful.precision == "float16"
    exact = load_backbone(path, device="cpu", precision="float32")
    np.testing.assert_array_equal(careful.encode_images(frames), exact.encode_images(frames))
    assert careful.precision == "float32"
    np.testing.assert_array_equal(
        careful.encode_texts(["red"]).features, exact.encode_texts(["red"]).features
    )
    assert careful.cut_text("red dog", 3) == "red"
    with pytest.raises(NotFiniteError):
        load_backbone(path, device="cpu", precision="float16").encode_images(frames)
    # Where even float32 does not do, that is an error, not a circle.
    state = tiny_state_dict()
    state["visual.proj"] = torch.full((64, 32), 3e38)
    path = str(save_converted(state, tmp_path / "larger.safetensors", name="larger"))
    with pytest.raises(NotFiniteError, match="in float32; features are finite; check the weights"):
        load_backbone(path, device="cpu").encode_images(frames)


def test_auto_takes_the_best_that_is_there():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto") == expected


def test_auto_precision_follows_the_device_and_the_tower():
    assert choose_precision("auto", device="cuda:1", towers="text") == "float16"
    assert choose_precision("auto", device="mps", towers="both") == "float32"
    assert choose_precision("auto", device="cpu", towers="text") == "float32"
    expected = "bfloat16" if cpu_has_bfloat16() else "float32"
    assert choose_precision("auto", device="cpu", towers="image") == expected
    assert choose_precision("auto", device="cpu", towers="both") == expected


def test_a_precision_that_was_asked_for_is_kept():
    assert choose_precision("float16", device="cpu", towers="text") == "float16"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_a_usage_error(device):
    with pytest.raises(UsageError) as error:
        choose_device(device)
    assert str(error.value) == (
        f"device {device!r} cannot be used here; auto, cpu, cuda, cuda:N or mps, "
        "as far as this machine has them; use --device auto"
    )


def test_an_unknown_precision_is_a_usage_error():
    with pytest.raises(UsageError) as error:
        choose_precision("int8", device="cpu", towers="both")
    assert str(error.value) == (
        "precision 'int8' is not known; auto, float16, bfloat16, float32; use --precision auto"
    )
