"""The header of the converted file."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.model.tiny_clip import TINY_CONFIG, tiny_state_dict, write_tiny_clip
from vtrcli.errors import WeightsError
from vtrcli.model.clip.converted import ClipConfig, infer_config, is_converted, read_header
from vtrcli.model.clip.model import clip_model_module, empty_clip


def test_the_header_says_what_was_written(tmp_path):
    header = read_header(write_tiny_clip(tmp_path / "tiny.safetensors"))
    assert (header.name, header.source, header.config) == ("tiny", "random weights", TINY_CONFIG)
    assert header.logit_scale == pytest.approx(100.0)
    assert len(header.sha256) == 64


def test_asking_for_the_sizes_does_not_import_torch(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    code = (
        "import sys; from vtrcli.model.families import backbone_info; "
        f"print(backbone_info({str(path)!r}).dim, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "32 False\n"


def _file(path, metadata):
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    return path


def test_other_files_are_not_converted_ones(tmp_path):
    assert not is_converted(tmp_path / "missing")
    assert not is_converted(_file(tmp_path / "plain", None))
    (tmp_path / "text").write_text("hello")
    assert not is_converted(tmp_path / "text")


def test_a_plain_safetensors_file_has_no_header_of_ours(tmp_path):
    path = _file(tmp_path / "plain", None)
    with pytest.raises(WeightsError) as error:
        read_header(path)
    assert str(error.value) == (
        f"{path} cannot be read: the header's format is None, not 'vtr-clip'; converted weights are a whole "
        "safetensors file with vtr's header; delete it, then import or pull the weights again"
    )


def test_a_newer_version_is_refused(tmp_path):
    path = _file(tmp_path / "new", {"format": "vtr-clip", "version": "2"})
    with pytest.raises(WeightsError) as error:
        read_header(path)
    assert str(error.value) == (
        f"{path} has format version 2; this vtr reads version 1; "
        "update vtr, or import the original weights again (`vtr models import`)"
    )


def test_a_file_that_is_cut_short_is_damaged(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"cannot be read: .*; delete it, then import or pull"):
        read_header(path)


def test_a_header_that_lacks_a_field_is_damaged(tmp_path):
    path = _file(tmp_path / "old", {"format": "vtr-clip", "version": "1", "name": "x"})
    with pytest.raises(WeightsError, match="the header lacks 'sha256'"):
        read_header(path)


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
