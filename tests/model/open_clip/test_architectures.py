"""Twelve published architectures with random weights, pictures at full size: real frames and captions, off line.

Each test prints a row of the table in docs/experiments.md:

    pytest -m slow -s tests/model/open_clip/test_architectures.py
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model.open_clip.folders import TWELVE, published_config, write_folder
from tests.model.open_clip.test_features import cosines
from vtrcli.model.families import load_backbone
from vtrcli.video.cut import frame_at
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Uniform

# With square pixels (those of an MSR-VTT clip are 1.0006 wide): `frame_at` would resample others before open_clip does.
VIDEOS = (
    "anet_v_GGSY1Qvo990.mp4",
    "askanything_hitting_baseball.mp4",
    "askanything_jesse_dance.mp4",
    "cogvideo_horse.mp4",
    "imageio_cockatoo.mp4",
    "intel_bottle-detection.mp4",
    "languagebind_0_parakeet.mp4",
    "videollava_demo_1.mp4",
    "pllava_cooking.mp4",
    "vatex_G0mjFqytJt4_000152_000162.mp4",
)
FRAMES_PER_VIDEO = 2  # 10 make the 100 frames of docs/experiments.md, and a quarter of an hour of all twelve
NUM_CAPTIONS = 100


class Originals(NamedTuple):
    """A video, and its whole frames at the times that the plan takes."""

    path: Path
    frames: list[Image.Image]


@pytest.fixture(scope="module")
def originals(test_data: Path) -> list[Originals]:
    found = []
    for name in VIDEOS:
        path = test_data / "videos" / "natural" / name
        with open_video(path, Uniform(num_frames=FRAMES_PER_VIDEO), size=32) as reader:
            times = [float(time) for batch in reader for time in batch.timestamps]
        assert len(times) == FRAMES_PER_VIDEO
        whole = [Image.fromarray(frame_at(path, time, longest_side=4000)) for time in times]
        found.append(Originals(path, whole))
    return found


@pytest.fixture(scope="module")
def captions(test_data: Path) -> list[str]:
    with open(test_data / "annotations" / "msrvtt" / "MSRVTT_JSFUSION_test.csv", newline="") as file:
        return [row["sentence"] for row in csv.DictReader(file)][:NUM_CAPTIONS]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tag"), TWELVE)
def test_a_published_architecture(
    name: str, tag: str, originals: list[Originals], captions: list[str], tmp_path: Path
) -> None:
    import open_clip

    config = published_config(name, tag)
    config["model_cfg"]["text_cfg"]["layers"] = 4  # PE-Core's 24 would take gigabytes
    folder = write_folder(tmp_path / "model", config)
    backbone = load_backbone(str(folder), device="cpu", precision="float32")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    mean, std = (np.array(config["preprocess_cfg"][key], np.float32) for key in ("mean", "std"))
    same_pixels, whole_path, differences = [], [], []
    for path, frames in originals:
        with open_video(path, Uniform(num_frames=FRAMES_PER_VIDEO), size=backbone.preprocessing) as reader:
            pixels = np.concatenate([batch.pixels for batch in reader])
        normalised = ((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
        theirs = torch.stack([transform(frame) for frame in frames])
        with torch.inference_mode():
            on_ours = model.encode_image(torch.from_numpy(normalised.copy())).numpy()
            on_theirs = model.encode_image(theirs).numpy()
        features = backbone.encode_images(pixels)
        same_pixels.append(cosines(features, on_ours))
        whole_path.append(cosines(features, on_theirs))
        values = (theirs.numpy().transpose(0, 2, 3, 1) * std + mean) * 255
        differences.append(np.abs(pixels - values).mean(axis=(1, 2, 3)))
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.inference_mode():
        texts = model.encode_text(tokenizer(captions)).numpy()
    of_texts = cosines(backbone.encode_texts(captions).features, texts)
    of_images, of_path, difference = map(np.concatenate, (same_pixels, whole_path, differences))
    assert len(of_images) == len(of_path) == len(VIDEOS) * FRAMES_PER_VIDEO
    assert len(of_texts) == NUM_CAPTIONS
    fitting = backbone.preprocessing
    print(
        f"\n| {name} {tag} | {fitting.width} {fitting.resize} {fitting.interpolation} | {of_images.min():.6f} "
        f"| {of_texts.min():.6f} | {difference.mean():.2f} | {difference.max():.2f} | {of_path.mean():.6f} "
        f"| {of_path.min():.6f} |"
    )
    assert of_images.min() >= 0.9999
    assert of_texts.min() >= 0.9999
    assert difference.max() <= 1.0  # of 255
    assert of_path.min() >= 0.999
