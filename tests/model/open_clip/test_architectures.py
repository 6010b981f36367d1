"""The published architectures with random weights, pictures at full size: real frames and captions, off line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model.open_clip.folders import write_folder
from tests.model.open_clip.test_features import cosines
from vtrcli.model.families import load_backbone
from vtrcli.video.cut import frame_at
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Uniform

MODELS = [
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
]
# With square pixels: `frame_at` would resample others before open_clip does.
VIDEOS = ("anet_v_GGSY1Qvo990.mp4", "askanything_hitting_baseball.mp4", "askanything_jesse_dance.mp4")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tag"), MODELS)
def test_a_published_architecture(name: str, tag: str, test_data: Path, tmp_path: Path) -> None:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    # The exact preprocessing stands with the weights, not with the architecture.
    told = get_pretrained_cfg(name, tag)
    config = {
        "model_cfg": open_clip.get_model_config(name),
        "preprocess_cfg": {key: told[key] for key in ("mean", "std", "interpolation", "resize_mode")},
    }
    text = config["model_cfg"]["text_cfg"]
    text["layers"] = 4  # PE-Core's 24 would take gigabytes
    if text.pop("hf_tokenizer_name", None):  # its files are not here: CLIP's byte pairs take their place
        text["vocab_size"] = 49408
        text.get("tokenizer_kwargs", {}).pop("strip_sep_token", None)
    folder = write_folder(tmp_path / "model", config)
    backbone = load_backbone(str(folder), device="cpu")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    frames, theirs = [], []
    for video in VIDEOS:
        path = test_data / "videos" / "natural" / video
        with open_video(path, Uniform(num_frames=1), size=backbone.preprocessing) as reader:
            for batch in reader:
                frames.append(batch.pixels[0].copy())
                whole = frame_at(path, float(batch.timestamps[0]), longest_side=4000)
                theirs.append(transform(Image.fromarray(whole)))
    pixels = np.stack(frames)
    mean, std = (np.array(told[key], np.float32) for key in ("mean", "std"))
    normalised = ((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    with open(test_data / "annotations" / "msrvtt" / "MSRVTT_JSFUSION_test.csv", newline="") as file:
        captions = [row["sentence"] for row in csv.DictReader(file)][:20]
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(captions)
    with torch.inference_mode():
        images = model.eval().encode_image(torch.from_numpy(normalised.copy())).numpy()
        whole_path = model.encode_image(torch.stack(theirs)).numpy()
        texts = model.encode_text(tokens).numpy()
    ours = backbone.encode_images(pixels)
    assert cosines(ours, images).min() >= 0.9999
    assert cosines(backbone.encode_texts(captions).features, texts).min() >= 0.9999
    their_pixels = (torch.stack(theirs).numpy().transpose(0, 2, 3, 1) * std + mean) * 255
    assert np.abs(pixels - their_pixels).mean(axis=(1, 2, 3)).max() <= 1.0
    assert cosines(ours, whole_path).min() >= 0.999
