"""A model as open_clip itself runs it, and its published architectures with random weights.

The first is what `vtr models check` compares with, the second what `vtr models bench` measures where the weights are
not here. Imports torch, and for pictures the whole of open_clip; only used inside functions.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file

from vtrcli.model.backbone import Original, random_tensors
from vtrcli.model.open_clip.folder import CONFIG_NAME, WEIGHTS_NAMES, ModelFolder
from vtrcli.model.open_clip.hub import PublishedModel
from vtrcli.model.open_clip.model import empty_tower, open_clip_file, require_open_clip

if TYPE_CHECKING:
    from PIL import Image


def original(folder: ModelFolder) -> Original:
    """open_clip's transform, tokenizer and forward over a folder, in float32 on the CPU; asks no network."""
    require_open_clip(whole=True)
    import open_clip

    place = f"local-dir:{folder.path}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what open_clip and timm deprecate is no affair of the comparison
        model, _, transform = open_clip.create_model_and_transforms(place, precision="fp32", device="cpu")
        tokenizer = open_clip.get_tokenizer(place)
    model.eval()

    def pixels(picture: Image.Image) -> np.ndarray:
        values: np.ndarray = transform(picture).numpy()
        return values

    @torch.inference_mode()
    def images(pixels: np.ndarray) -> np.ndarray:
        features: np.ndarray = model.encode_image(torch.from_numpy(pixels)).numpy()
        return features

    @torch.inference_mode()
    def texts(texts: Sequence[str]) -> np.ndarray:
        features: np.ndarray = model.encode_text(tokenizer(list(texts))).numpy()
        return features

    return Original(library=f"open_clip {open_clip.__version__}", pixels=pixels, images=images, texts=texts)


def published_config(model: PublishedModel) -> dict[str, Any]:
    """`model_cfg` and `preprocess_cfg` of a published model, out of the tables of the installed open_clip."""
    require_open_clip(whole=False)
    spec = importlib.util.find_spec("open_clip")
    root = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    told = open_clip_file("pretrained").get_pretrained_cfg(model.architecture, model.tag)
    return {
        "model_cfg": json.loads((root / "model_configs" / f"{model.architecture}.json").read_text("utf-8")),
        "preprocess_cfg": {key: told[key] for key in ("mean", "std", "interpolation", "resize_mode")},
    }


def write_random(model: PublishedModel, folder: Path) -> Path:
    """A folder in open_clip's layout: the published architecture with random weights.

    Texts get open_clip's own tokenizer where the model's lies on the Hub; the vocabulary keeps its size.
    """
    config = published_config(model)
    text = config["model_cfg"]["text_cfg"]
    if text.pop("hf_tokenizer_name", None):
        text["tokenizer_kwargs"] = {
            key: value for key, value in (text.get("tokenizer_kwargs") or {}).items() if key == "clean"
        }
    folder.mkdir(parents=True)
    (folder / CONFIG_NAME).write_text(json.dumps(config), "utf-8")
    require_open_clip(whole=True)
    made = ModelFolder(folder)
    prefixes = {"image": "visual.", "text": "text." if config["model_cfg"].get("custom_text") else ""}
    shapes = {
        prefix + key: tensor
        for tower, prefix in prefixes.items()
        for key, tensor in empty_tower(made, tower).state_dict().items()
    }
    state = random_tensors(shapes)
    state["logit_scale"] = torch.tensor(np.log(100.0), dtype=torch.float32)
    if "init_logit_bias" in config["model_cfg"]:
        state["logit_bias"] = torch.tensor(float(config["model_cfg"]["init_logit_bias"]))
    save_file(state, folder / WEIGHTS_NAMES[0])
    return folder
