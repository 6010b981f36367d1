"""OpenAI's CLIP as its own package runs it, and its published architectures with random weights.

The first is what `vtr models check` compares with, the second what `vtr models bench` measures where the weights are
not here. Imports torch; only used inside functions.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from vtrcli.model.backbone import Original
from vtrcli.model.byte_pairs import clip_file
from vtrcli.model.clip.converted import ClipConfig, preprocessing
from vtrcli.model.clip.download import KnownModel
from vtrcli.model.clip.formats import read_state_dict
from vtrcli.model.clip.model import checked_state, clip_model_module, save_converted

if TYPE_CHECKING:
    from PIL import Image

# Radford et al. 2021 (arXiv 2103.00020), table 20, by the dimension of the features: layers and width of the image
# tower, width of the text tower. Patch and input stand in the name, all else is the same.
_TOWERS = {512: (12, 768, 512), 768: (24, 1024, 768)}


def original(path: Path) -> Original:
    """clip's transform, `clip.tokenize` and forward over a converted file, in float32 on the CPU.

    `clip/clip.py` cannot be imported on a current Python, so what it does is done here: texts have all 77 tokens, and
    pictures go the way of torchvision's Resize and CenterCrop, which is Pillow's.
    """
    state, config = checked_state(read_state_dict(path), source=str(path))
    model = clip_model_module().CLIP(**asdict(config)).float().eval()
    model.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    size, told = config.image_resolution, preprocessing(config.image_resolution)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (told.mean, told.std))

    def pixels(picture: Image.Image) -> np.ndarray:
        return (_cropped(picture, size).transpose(2, 0, 1) / np.float32(255) - mean) / std

    @torch.inference_mode()
    def images(pixels: np.ndarray) -> np.ndarray:
        features: np.ndarray = model.encode_image(torch.from_numpy(pixels)).numpy()
        return features

    @torch.inference_mode()
    def texts(texts: Sequence[str]) -> np.ndarray:
        features: np.ndarray = model.encode_text(_all_tokens(texts, config.context_length)).numpy()
        return features

    library = f"clip-anytorch {importlib.metadata.version('clip-anytorch')}"
    return Original(library=library, pixels=pixels, images=images, texts=texts)


def _cropped(picture: Image.Image, size: int) -> np.ndarray:
    """uint8 [size, size, 3], as `clip.clip._transform` resizes and crops."""
    from PIL import Image

    width, height = picture.size
    if width <= height:
        resized = picture.resize((size, int(size * height / width)), Image.Resampling.BICUBIC)
    else:
        resized = picture.resize((int(size * width / height), size), Image.Resampling.BICUBIC)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)).convert("RGB"))


def _all_tokens(texts: Sequence[str], context_length: int) -> torch.Tensor:
    """int64 [num_texts, context_length], as `clip.tokenize` with `truncate=True`."""
    tokenizer = clip_file("simple_tokenizer").SimpleTokenizer()
    start, end = tokenizer.encoder["<|startoftext|>"], tokenizer.encoder["<|endoftext|>"]
    tokens = torch.zeros(len(texts), context_length, dtype=torch.long)
    for row, text in enumerate(texts):
        ids = [start, *tokenizer.encode(text), end]
        if len(ids) > context_length:
            ids = [*ids[: context_length - 1], end]
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens


def published_config(model: KnownModel) -> ClipConfig:
    """The sizes of one of OpenAI's models, without its weights."""
    layers, width, text_width = _TOWERS[model.dim]
    patch = re.search(r"/(\d+)", model.name)
    return ClipConfig(
        embed_dim=model.dim,
        image_resolution=model.input_size,
        vision_layers=layers,
        vision_width=width,
        vision_patch_size=int(patch[1]) if patch else None,
        context_length=77,
        vocab_size=49408,
        transformer_width=text_width,
        transformer_heads=text_width // 64,
        transformer_layers=12,
    )


def write_random(model: KnownModel, folder: Path) -> Path:
    """A converted file: a published architecture with clip's own initial values, in the precision of OpenAI's files."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = clip_model_module().CLIP(**asdict(published_config(model)))
    clip_model_module().convert_weights(made)
    return save_converted(made, folder / f"{Path(model.file_name).stem}-random.safetensors", name=model.name)
