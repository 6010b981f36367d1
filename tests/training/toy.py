"""A data set that can be learned in seconds: random features whose captions are noisy copies of their videos."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tests.store.stores import SHA256, make_store
from vtrcli.store.texts import TextRows, write_texts
from vtrcli.text.streams import STREAMS, load_tagger

DIM = 16


def make_toy(
    folder: Path, *, num_videos: int = 60, num_frames: int = 4, captions_per_video: int = 2, dim: int = DIM
) -> Path:
    """A store with cached captions, and captions.csv with train, val and test rows, in `folder`."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(dim, dim)) / dim**0.5
    videos, texts, features = {}, [], []
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "caption", "split"])
        for number in range(num_videos):
            split = ("train", "train", "train", "val", "test")[number % 5]
            topic = rng.normal(size=dim)
            videos[f"v{number:03d}"] = topic + 0.3 * rng.normal(size=(num_frames, dim))
            for version in range(captions_per_video):
                text = f"caption {version} of video {number}"
                writer.writerow([f"v{number:03d}", text, split])
                texts.append(text)
                features.append((topic @ hidden + 0.1 * rng.normal(size=(3, dim))).astype(np.float16))
    make_store(folder / "store", videos, dim=dim)
    rows = TextRows(np.stack(features), np.ones((len(texts), 3), bool))
    write_texts(
        folder / "store", texts, rows, streams=STREAMS, tagger_id=load_tagger().id, backbone_sha256=SHA256
    )
    return folder
