"""Tiny models in open_clip's layout, built and saved by open_clip itself."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
_VIT = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
_TIMM = {"image_size": 64, "timm_model_name": "test_vit", "timm_model_pretrained": False}

# What makes each of them another model; sizes are small.
CONFIGS: dict[str, dict[str, Any]] = {
    "clip": {
        "model_cfg": {"embed_dim": 32, "vision_cfg": _VIT, "text_cfg": _TEXT},
        "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD},  # as LAION's folders tell it
    },
    "quickgelu": {
        "model_cfg": {"embed_dim": 32, "quick_gelu": True, "vision_cfg": _VIT, "text_cfg": _TEXT},
        "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD, "resize_mode": "shortest"},
    },
    "pe": {
        "model_cfg": {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": {**_TIMM, "timm_pool": "avg", "timm_proj": "linear"},
            "text_cfg": {**_TEXT, "context_length": 32},
        },
        "preprocess_cfg": {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bilinear",
            "resize_mode": "squash",
        },
    },
    "siglip": {
        "model_cfg": {
            "embed_dim": 64,
            "init_logit_scale": 4.7,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {**_TIMM, "timm_pool": "avg", "timm_proj": "none"},
            "text_cfg": {
                **_TEXT,
                "context_length": 64,
                "tokenizer_kwargs": {"clean": "canonicalize"},
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
                "norm_kwargs": {"eps": 1e-6},
                "act_kwargs": {"approximate": "tanh"},
            },
        },
        "preprocess_cfg": {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    },
    "mobileclip": {
        "model_cfg": {
            "embed_dim": 32,
            "custom_text": True,
            "vision_cfg": {
                **_TIMM,
                "timm_model_name": "test_byobnet",
                "timm_pool": "avg",
                "timm_proj": "linear",
            },
            "text_cfg": {**_TEXT, "no_causal_mask": True},
        },
        "preprocess_cfg": {
            "mean": [0.0] * 3,
            "std": [1.0] * 3,
            "interpolation": "bilinear",
            "resize_mode": "shortest",
        },
    },
    "wide": {
        "model_cfg": {"embed_dim": 32, "vision_cfg": {**_VIT, "image_size": [24, 40]}, "text_cfg": _TEXT},
        "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD, "resize_mode": "squash"},
    },
}


# As large as it is: only for slow tests.
_LARGE = {"mobileclip-s0": deepcopy(CONFIGS["mobileclip"])}
_LARGE["mobileclip-s0"]["model_cfg"]["vision_cfg"].update(timm_model_name="fastvit_mci0", image_size=256)
_LARGE["eva"] = deepcopy(CONFIGS["pe"])
_LARGE["eva"]["model_cfg"]["vision_cfg"] = {
    "image_size": 224,
    "timm_model_name": "eva02_tiny_patch14_224",
    "timm_model_pretrained": False,
    "timm_pool": "token",
    "timm_proj": None,
}


def write_folder(folder: Path, config: str | dict[str, Any]) -> Path:
    """A whole folder of one kind, or of a config, with random weights."""
    import open_clip

    folder.mkdir(parents=True)
    write_config(folder, {**CONFIGS, **_LARGE}[config] if isinstance(config, str) else config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {key: tensor.clone().contiguous() for key, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


# Published weights in open_clip's words: architecture and tag.
TWELVE = (
    ("ViT-B-32-quickgelu", "openai"),
    ("ViT-B-32", "laion2b_s34b_b79k"),
    ("ViT-B-32-256", "datacomp_s34b_b86k"),
    ("ViT-B-32-quickgelu", "metaclip_fullcc"),
    ("EVA02-B-16", "merged2b_s8b_b131k"),
    ("ViT-B-16-SigLIP", "webli"),
    ("ViT-B-16-SigLIP2", "webli"),
    ("PE-Core-T-16-384", "meta"),
    ("PE-Core-S-16-384", "meta"),
    ("PE-Core-B-16", "meta"),
    ("MobileCLIP2-S0", "dfndr2b"),
    ("MobileCLIP2-B", "dfndr2b"),
)


def published_config(name: str, tag: str) -> dict[str, Any]:
    """Architecture and preprocessing of published weights; CLIP's byte pairs where their tokenizer is not here."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    # The exact preprocessing stands with the weights, not with the architecture.
    told = get_pretrained_cfg(name, tag)
    config = {
        "model_cfg": open_clip.get_model_config(name),
        "preprocess_cfg": {key: told[key] for key in ("mean", "std", "interpolation", "resize_mode")},
    }
    text = config["model_cfg"]["text_cfg"]
    if text.pop("hf_tokenizer_name", None):
        text["vocab_size"] = 49408
        text.get("tokenizer_kwargs", {}).pop("strip_sep_token", None)
    return deepcopy(config)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def config_of(kind: str) -> dict[str, Any]:
    """One that may be changed."""
    return deepcopy(CONFIGS[kind])
