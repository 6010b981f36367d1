"""The identity of a folder: each thing that makes other features is a part of it, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import vtrcli as vtr
from tests.model.open_clip.folders import config_of, write_config
from tests.video_files import make_video
from vtrcli.model.families import describe_backbone, load_backbone
from vtrcli.searching.query import Query
from vtrcli.store.frames import FrameShard, open_frame
from vtrcli.store.reader import FeatureStore, unit_rows

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def copied(models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda kind: Path(shutil.copytree(models[kind], tmp_path / "copy" / kind))


def sha256(folder: Path) -> str:
    return describe_backbone(str(folder)).info.sha256


def with_tokenizer(folder: Path, config: dict[str, Any]) -> None:
    """The folder reads texts by transformers' tokenizer, whose files lie in it."""
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "org/name"
    write_config(folder, config)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("preprocess_cfg", "mean", [0.5, 0.5, 0.4]),
        ("preprocess_cfg", "std", [0.5, 0.5, 0.4]),
        ("preprocess_cfg", "interpolation", "bilinear"),
        ("preprocess_cfg", "resize_mode", "shortest"),
        ("vision_cfg", "image_size", 32),
        ("vision_cfg", "image_size", [64, 32]),
        ("vision_cfg", "timm_pool", "token"),
        ("text_cfg", "context_length", 32),
        ("text_cfg", "tokenizer_kwargs", {"clean": "lower"}),
        ("text_cfg", "no_causal_mask", False),
        ("text_cfg", "pool_type", "argmax"),
        ("text_cfg", "heads", 4),
        ("model_cfg", "quick_gelu", True),
    ],
)
def test_another_config_is_another_model(part: str, key: str, value: Any, copied: Any) -> None:
    folder, config = copied("siglip"), config_of("siglip")
    before = sha256(folder)
    (config[part] if part in config else config["model_cfg"][part])[key] = value
    write_config(folder, config)
    assert sha256(folder) != before


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_another_tokenizer_is_another_model(name: str, copied: Any) -> None:
    folder, config = copied("siglip"), config_of("siglip")
    own = sha256(folder)
    with_tokenizer(folder, config)
    before = sha256(folder)
    (folder / name).write_text('{"added": 1}')
    assert len({own, before, sha256(folder)}) == 3
    (folder / name).write_text("{}")
    assert sha256(folder) == before


@pytest.mark.parametrize("key", ["visual.head.proj.weight", "text.token_embedding.weight", "logit_bias"])
def test_another_tensor_is_another_model(key: str, models: dict[str, Path], copied: Any) -> None:
    folder = copied("pe" if key.startswith("visual") else "siglip")
    before, state = sha256(folder), load_file(folder / WEIGHTS)
    state[key] = state[key] + 0.5
    save_file(state, folder / WEIGHTS)
    assert sha256(folder) != before


def backwards(body: Any) -> Any:
    return {key: backwards(body[key]) for key in reversed(body)} if isinstance(body, dict) else body


def test_the_order_of_keys_and_what_changes_nothing_is_the_same_model(copied: Any) -> None:
    folder, config = copied("siglip"), config_of("siglip")
    before = sha256(folder)
    assert list(backwards(config)["model_cfg"]) != list(config["model_cfg"])
    (folder / "open_clip_config.json").write_text(json.dumps(backwards(config), indent=4) + "\n")
    assert sha256(folder) == before
    told = {"mode": "RGB", "fill_color": 0, "mean": [0.5, 0.5, 0.50]}  # open_clip's defaults, and 0.50 is 0.5
    write_config(folder, {**config, "preprocess_cfg": {**config["preprocess_cfg"], **told}, "notes": "x"})
    (folder / "README.md").write_text("what it is")
    assert sha256(folder) == before
    moved = folder.rename(folder.parent / "elsewhere")
    assert sha256(moved) == before


@pytest.mark.parametrize("kind", ["clip", "pe", "siglip", "mobileclip"])
def test_a_frame_as_a_query_is_prepared_as_it_was_in_its_video(
    kind: str, models: dict[str, Path], tmp_path: Path
) -> None:
    """Squash or crop, bilinear or bicubic: a whole frame as a picture has the feature that the decoder's frame had."""
    video, store = make_video(tmp_path / "a.mp4", seconds=0.5, size="640x360"), tmp_path / "store"
    vtr.extract(video, store, backbone=str(models[kind]), frames=1, keep_frames=True, device="cpu")
    opened, frame = FeatureStore(store), tmp_path / "frame.png"
    (image,) = FrameShard(store / "frames" / opened.shards[0].path.name).images("a")
    with open_frame(image) as picture:
        assert picture.size == (640, 360)
        picture.save(frame)
        backbone = load_backbone(str(models[kind]), device="cpu", towers="image")
        own = backbone.preprocessing
        other = replace(own, resize="crop" if own.resize == "squash" else "squash")
        wrong = unit_rows(backbone.encode_images(np.asarray(other.fitted(picture.convert("RGB")))[None]))
    (hit,) = vtr.search(Query(images=(frame,)), store, device="cpu").hits
    assert hit.score == pytest.approx(1, abs=1e-3)
    assert 1 - (unit_rows(opened.features("a")) @ wrong[0]).item() > 5 * (1 - hit.score)
