"""A store with kept frames that a tiny CLIP can learn in seconds: each topic is a picture and a word of its own."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tests.model.tiny_clip import write_tiny_clip
from tests.store.stores import make_record
from vtrcli.extraction.settings import store_config
from vtrcli.model.families import describe_backbone
from vtrcli.store.config import create_config
from vtrcli.store.frames import FrameJpegs, encode_jpegs
from vtrcli.store.writer import StoreWriter
from vtrcli.video.sampling import Uniform

SIZE = 32
WORDS = "cat dog car house tree ball boat horse".split()
SPLITS = ("train", "train", "val")


def make_toy_frames(
    folder: Path, *, num_frames: int = 3, keep_frames: bool = True, weights: Path | None = None
) -> Path:
    """clip.safetensors (or other `weights`), store/ and captions.csv in `folder`: two training videos and one of
    validation per word.

    Frames of one topic are the same 4 x 4 blocks with other noise; one video in three has a frame less.
    """
    weights = weights or write_tiny_clip(folder / "clip.safetensors")
    described = describe_backbone(str(weights))
    info = described.info
    create_config(folder / "store", store_config(described, Uniform(num_frames=num_frames)))
    writer = StoreWriter(folder / "store", backbone_sha256=info.sha256)
    rng = np.random.default_rng(0)
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["video_id", "caption", "split"])
        for word in WORDS:
            blocks = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1)))
            for version, split in enumerate(SPLITS):
                count = num_frames - (version == 1)
                noisy = blocks + rng.normal(0, 8, (count, SIZE, SIZE, 3))
                jpegs = FrameJpegs(encode_jpegs(noisy.clip(0, 255).astype(np.uint8)))
                video_id = f"{word}{version}"
                table.writerow([video_id, f"a {word} is running", split])
                writer.add(
                    make_record(video_id),
                    rng.normal(size=(count, info.dim)),
                    np.arange(count) + 0.5,
                    jpegs=jpegs if keep_frames else None,
                )
    writer.flush()
    return folder
