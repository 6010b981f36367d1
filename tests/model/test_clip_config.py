"""Sizes are read from shapes by the rule of clip.model.build_model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.tiny_clip import TINY_CONFIG, tiny_state_dict
from vtrcli.errors import WeightsError
from vtrcli.model.clip_config import ClipConfig, infer_config
from vtrcli.model.clip_loading import empty_clip
from vtrcli.model.clip_package import clip_model_module

_MULTIPLE_OF_64 = st.sampled_from([64, 128, 192])


def _shapes(config: ClipConfig) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in empty_clip(config).state_dict().items()}


@settings(max_examples=20, deadline=None)
@given(
    embed_dim=st.integers(1, 40),
    grid=st.integers(1, 5),
    patch=st.integers(1, 16),
    vision_layers=st.one_of(st.integers(1, 3), st.just((1, 2, 1, 3))),
    widths=st.tuples(_MULTIPLE_OF_64, _MULTIPLE_OF_64),
    context_length=st.integers(2, 77),
)
def test_the_shapes_of_any_model_give_its_config_back(
    embed_dim, grid, patch, vision_layers, widths, context_length
):
    is_resnet = isinstance(vision_layers, tuple)
    config = ClipConfig(
        embed_dim=embed_dim,
        image_resolution=grid * (32 if is_resnet else patch),
        vision_layers=vision_layers,
        vision_width=widths[0] // 32 if is_resnet else widths[0],
        vision_patch_size=None if is_resnet else patch,
        context_length=context_length,
        vocab_size=100,
        transformer_width=widths[1],
        transformer_heads=widths[1] // 64,
        transformer_layers=2,
    )
    assert infer_config(_shapes(config), source="test") == config


def test_clips_own_builder_makes_the_same_model():
    theirs = clip_model_module().build_model(tiny_state_dict())
    shapes = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
    assert infer_config(shapes, source="test") == TINY_CONFIG
    assert _shapes(TINY_CONFIG) == shapes


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        ({"fc.weight": (10, 3)}, "it has no tensor 'visual.attnpool.positional_embedding'"),
        ({"visual.proj": (), "ln_final.weight": ()}, "it has no tensor 'visual.conv1.weight'"),
        (_shapes(TINY_CONFIG) | {"ln_final.weight": ()}, "its tensors have other shapes"),
        (
            _shapes(TINY_CONFIG) | {"ln_final.weight": (65,)},
            "CLIP's widths are multiples of 64, not 65 and 64",
        ),
    ],
)
def test_other_models_are_named_as_such(shapes, why):
    with pytest.raises(WeightsError) as error:
        infer_config(shapes, source="resnet.pt")
    assert str(error.value) == (
        f"resnet.pt holds the weights of another model: {why}; "
        "only OpenAI's CLIP is read (ViT or ResNet, its own or Hugging Face's tensor names); "
        "pass a CLIP file, or a name that `vtr models list` shows"
    )
