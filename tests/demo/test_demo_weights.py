from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from vtrcli.demo.corpus import plan_corpus
from vtrcli.demo.drawing import draw_clip, draw_frame
from vtrcli.demo.scenes import draw_scene
from vtrcli.model.backbone import Backbone
from vtrcli.model.clip.family import DEMO_WEIGHTS
from vtrcli.model.families import load_backbone

NUM_FRAMES = 12


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("demo", device="cpu", precision="float32")


def _unit(features: np.ndarray) -> np.ndarray:
    return np.asarray(features / np.linalg.norm(features, axis=-1, keepdims=True))


def _frame_features(backbone: Backbone, frames: np.ndarray) -> np.ndarray:
    """Features [NUM_FRAMES, dim] of frames in the middle of equal parts of a clip."""
    chosen = frames[(2 * np.arange(NUM_FRAMES) + 1) * len(frames) // (2 * NUM_FRAMES)]
    return _unit(backbone.encode_images(_small(chosen, backbone)))


def _small(frames: np.ndarray, backbone: Backbone) -> np.ndarray:
    size = (backbone.info.input_size, backbone.info.input_size)
    return np.stack(
        [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames]
    )


def test_the_shipped_weights_are_small() -> None:
    assert DEMO_WEIGHTS.stat().st_size < 10_000_000


def test_odd_words_give_finite_features(backbone: Backbone) -> None:
    odd = [
        "",
        "zyzzyva",
        "Ein Mann kocht Spätzle",
        "犬",
        "👩‍🍳🍝",
        "<|endoftext|>",
        "x" * 300,
        "a man cooking " * 50,
    ]
    features = backbone.encode_texts(odd).features
    assert features.shape == (len(odd), backbone.info.dim)
    assert np.isfinite(features).all()
    assert (np.linalg.norm(features, axis=1) > 0).all()


def test_blank_pictures_give_finite_features(backbone: Backbone) -> None:
    size = backbone.info.input_size
    frames = np.stack([np.full((size, size, 3), value, np.uint8) for value in (0, 127, 255)])
    assert np.isfinite(backbone.encode_images(frames)).all()


def test_captions_find_their_clips_far_above_chance_but_not_their_order(backbone: Backbone) -> None:
    clips = [clip for clip in plan_corpus(num_videos=72, seed=5) if clip.split == "test"]
    videos = _unit(
        np.stack([_frame_features(backbone, draw_clip(clip.scene)).mean(axis=0) for clip in clips])
    )
    similarities = _unit(backbone.encode_texts([clip.caption for clip in clips]).features) @ videos.T
    ranks = 1 + (similarities > similarities.diagonal()[:, None]).sum(axis=1)
    assert len(clips) == 24
    assert (ranks <= 5).mean() > 0.7  # by chance 0.21

    place = {clip.video_id: index for index, clip in enumerate(clips)}
    paired = [(index, place[clip.order_pair]) for index, clip in enumerate(clips) if clip.order_pair]
    for index, other in paired:
        assert abs(similarities[index, index] - similarities[index, other]) < 0.02


@pytest.mark.parametrize("action", ["slide", "rise", "grow", "appear"])
def test_the_order_of_frames_can_be_read_from_their_features(backbone: Backbone, action: str) -> None:
    rng = random.Random(action)
    scenes = [draw_scene(rng, action=action) for _ in range(60)]
    ends = [_small(np.stack([draw_frame(scene, 0.1), draw_frame(scene, 0.9)]), backbone) for scene in scenes]
    first, last = _unit(backbone.encode_images(np.concatenate(ends))).reshape(60, 2, -1).swapaxes(0, 1)
    change, label = last - first, np.ones(60)
    change[::2], label[::2] = -change[::2], -1  # every second clip is played backwards
    known = slice(0, 40)
    weights = np.linalg.solve(
        change[known].T @ change[known] + 0.1 * np.eye(change.shape[1]), change[known].T @ label[known]
    )
    assert (np.sign(change[40:] @ weights) == label[40:]).mean() >= 0.9
