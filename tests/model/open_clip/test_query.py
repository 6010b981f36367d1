"""A query by a model in open_clip's layout: torch's features without torch, or the reason why not."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.open_clip.folders import (
    CONFIGS,
    TWELVE,
    config_of,
    published_config,
    write_config,
    write_folder,
)
from tests.model.test_text_tower import TEXTS, off
from vtrcli.model.backbone import NeedsTorch
from vtrcli.model.families import family_of, load_backbone, load_query_tower
from vtrcli.model.open_clip.folder import ModelFolder
from vtrcli.model.open_clip.tokens import TextReader
from vtrcli.model.text_tower import POOLING, TextBackbone

# What CONFIGS do not have of a `text_cfg`.
OTHERS: dict[str, dict[str, Any]] = {
    "the first token": {"pool_type": "first", "no_causal_mask": True},
    "the end token": {"pool_type": "eos", "eos_id": 49407},
    "no projection": {"proj_type": "none", "no_causal_mask": True},
    "scaled layers": {"ls_init_value": 0.3},
    "narrow layers": {"mlp_ratio": 3.7362},
}


def agrees(folder: Path) -> None:
    ours = load_query_tower(str(folder))
    theirs = load_backbone(str(folder), device="cpu", precision="float32", towers="text")
    assert isinstance(ours, TextBackbone) and ours.info == theirs.info
    for texts in (TEXTS, TEXTS[:1]):
        found, wanted = ours.encode_texts(texts), theirs.encode_texts(texts)
        assert off(found.features, wanted.features) < 1e-5
        assert found.was_cut.tolist() == wanted.was_cut.tolist()


@pytest.mark.parametrize("kind", CONFIGS)
def test_features_are_those_of_open_clip(kind: str, models: dict[str, Path]) -> None:
    agrees(models[kind])


@pytest.mark.parametrize("kind", OTHERS)
def test_features_are_those_of_open_clip_whatever_its_text_cfg_says(kind: str, tmp_path: Path) -> None:
    config = config_of("clip")
    config["model_cfg"] |= {"custom_text": True}
    config["model_cfg"]["text_cfg"] = config["model_cfg"]["text_cfg"] | OTHERS[kind]
    agrees(write_folder(tmp_path / "model", config))


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("is_causal", [True, False])
def test_features_are_those_of_open_clip_for_every_pooling_activation_and_projection(
    is_causal: bool, pooling: str, tmp_path: Path
) -> None:
    activations: list[dict[str, Any]] = [
        {"quick_gelu": True},
        {"quick_gelu": False},
        {"quick_gelu": False, "act_kwargs": {"approximate": "tanh"}},
    ]
    projections = [{"proj_type": "linear"}, {"proj_type": "linear", "proj_bias": True}, {"proj_type": "none"}]
    for number, (activation, projection) in enumerate(itertools.product(activations, projections)):
        config = config_of("clip")
        told = {"pool_type": pooling, "no_causal_mask": not is_causal, "eos_id": 49407} | projection
        told |= {key: value for key, value in activation.items() if key == "act_kwargs"}
        config["model_cfg"] |= {"custom_text": True, "quick_gelu": activation["quick_gelu"]}
        config["model_cfg"]["text_cfg"] = config["model_cfg"]["text_cfg"] | told
        agrees(write_folder(tmp_path / str(number), config))


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "tag"), TWELVE)
def test_features_are_those_of_open_clip_at_published_sizes(
    architecture: str, tag: str, tmp_path: Path
) -> None:
    agrees(write_folder(tmp_path / "model", published_config(architecture, tag)))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pool_type": "none"}, "its text_cfg has pool_type 'none'"),
        ({"embed_cls": True}, "its text_cfg has embed_cls True"),
        ({"use_pad_mask": True}, "its text_cfg has use_pad_mask True"),
        ({"qk_norm": True}, "its text_cfg has qk_norm True"),
        ({"act_kwargs": {"approximate": "other"}}, "its text_cfg has act_kwargs {'approximate': 'other'}"),
        ({"norm_kwargs": {"bias": False}}, "its text_cfg has norm_kwargs {'bias': False}"),
        ({"layers": 3}, "its weights are of another layers than its config"),
    ],
)
def test_what_is_not_known_is_left_to_torch(
    change: dict[str, Any], why: str, models: dict[str, Path], tmp_path: Path
) -> None:
    config = config_of("clip")
    config["model_cfg"]["text_cfg"] = config["model_cfg"]["text_cfg"] | change
    folder = tmp_path / "model"
    folder.mkdir()
    write_config(folder, config)
    (folder / "open_clip_model.safetensors").symlink_to(models["clip"] / "open_clip_model.safetensors")
    with pytest.raises(NeedsTorch) as caught:
        family_of(str(folder)).query_tower(str(folder))
    assert str(caught.value) == why


def test_the_reason_is_told_to_who_debugs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of("clip")
    config["model_cfg"]["text_cfg"] = config["model_cfg"]["text_cfg"] | {"qk_norm": True}
    folder = write_folder(tmp_path / "model", config)
    with caplog.at_level("INFO", logger="vtrcli"):
        tower = load_query_tower(str(folder), device="cpu")
    assert tower.encode_texts(["a dog"]).features.shape == (1, 32)
    assert [told.getMessage() for told in caplog.records if told.name == "vtrcli.model.families"] == [
        f"the text tower of {folder} is computed by torch: its text_cfg has qk_norm True"
    ]


@pytest.fixture(scope="module")
def tokenizers(models: dict[str, Path]) -> dict[str, tuple[TextReader, Any]]:
    import open_clip

    return {
        kind: (TextReader(ModelFolder(models[kind])), open_clip.get_tokenizer(f"local-dir:{models[kind]}"))
        for kind in ("clip", "siglip")
    }


@given(text=st.text(max_size=60))
def test_ids_are_those_of_open_clip(text: str, tokenizers: dict[str, tuple[TextReader, Any]]) -> None:
    for ours, theirs in tokenizers.values():
        ids, wanted = ours.row(text)[0], theirs(text)[0].numpy()
        assert np.array_equal(np.pad(ids, (0, len(wanted) - len(ids))), wanted)


def test_a_new_query_imports_neither_torch_nor_open_clip(models: dict[str, Path]) -> None:
    load_query_tower(str(models["siglip"]))  # its identity is read once
    code = (
        "import sys; from vtrcli.model.families import load_query_tower; "
        f"print(load_query_tower({str(models['siglip'])!r}).encode_texts(['a man']).features.shape, "
        "[name for name in ('torch', 'open_clip', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 64) []"
