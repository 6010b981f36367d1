"""A backbone in front of the head, trained together: what it begins with, the encoder, and validation as it is now."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vtrcli.model.backbone import FrameBatcher, TrainableBackbone, default_batch_size
from vtrcli.model.families import load_trainable
from vtrcli.model.heads import Head
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.reader import FeatureStore
from vtrcli.training.data import FeatureSet
from vtrcli.training.frames import ClipRequest, FrameSet, load_clips

CHUNK_FRAMES, CHUNK_TEXTS = 512, 256  # encoded at a time in validation


class FinetuneEncoder(nn.Module):
    """As `PairEncoder`, but from pixels and tokens.

    Raises:
        UsageError: `freeze_layers` leaves no layer to train.
    """

    def __init__(
        self,
        tuned: TrainableBackbone,
        head: Head,
        *,
        freeze_layers: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.tuned = tuned
        self.clip, self.head = tuned.module, head  # the name that the run's files know
        tuned.prepare(freeze_layers=freeze_layers, gradient_checkpointing=gradient_checkpointing)

    def forward(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor,
        texts: torch.Tensor,
        stream_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels uint8 [part, F, height, width, 3], bool [part, F], token ids int64 [part, E, tokens], bool [part, E]
        -> what the head makes of videos and of texts, [part, ...] each."""
        encoded = self.tuned.encode_pixels(frames[frame_mask])
        features = encoded.new_zeros(*frame_mask.shape, encoded.shape[-1])
        features[frame_mask] = encoded
        videos = self.head.video_vectors(features, frame_mask)
        words = self.tuned.encode_tokens(texts.flatten(0, 1))
        return videos, self.head.text_vectors(words.view(*texts.shape[:2], -1), stream_mask)


def starting_backbone(
    tuned: Path | None, store: FeatureStore, settings: TrainSettings, *, backbone: str | None, device: str
) -> TrainableBackbone:
    """What fine-tuning begins with: the run's own backbone when it goes on, else `backbone`; None: the store's."""
    if tuned is not None:  # for the sizes; the weights of the last step are in last.safetensors
        return load_trainable(str(tuned), device=device)
    stored = store.config.backbone
    torch.manual_seed(settings.seed + 1)  # counts from scratch; not the numbers that the heads draw
    return load_trainable(
        backbone or stored.name,
        sha256=None if backbone else stored.sha256,
        from_scratch=settings.from_scratch,
        device=device,
    )


@torch.inference_mode()
def encode_set(encoder: FinetuneEncoder, frames: FrameSet, *, device: str) -> FeatureSet:
    """Features of a split by the backbone of now, as a store made with it has them; frames are taken whole.

    In the precision and the batches of `vtr cache` and `vtr extract`, so that `vtr eval` finds the numbers of the
    validation again: those of frames are the same bits, those of texts differ by a last bit of float16 at most, since
    their batches depend on what else is encoded.
    """
    num_videos, num_frames = len(frames.video_ids), frames.num_frames
    dim = encoder.head.config.dim
    features = np.zeros((num_videos, num_frames, dim), np.float16)
    masks = np.zeros((num_videos, num_frames), bool)
    encode_images, encode_tokens = encoder.tuned.encoders(device=device)
    batcher = FrameBatcher(encode_images, batch_size=default_batch_size(device), input_size=frames.size)
    num_done = np.zeros(num_videos, np.int64)

    def keep(found: Iterable[tuple[int, np.ndarray]]) -> None:
        for video, rows in found:
            features[video, num_done[video] : num_done[video] + len(rows)] = rows
            num_done[video] += len(rows)

    step = max(1, CHUNK_FRAMES // num_frames)
    starts = range(0, num_videos, step)
    requests = ([ClipRequest(name) for name in frames.video_ids[start : start + step]] for start in starts)
    loaded = load_clips(requests, frames.kept, num_frames=num_frames, size=frames.size)
    with closing(loaded):
        for start, (pixels, mask) in zip(starts, loaded, strict=True):
            masks[start : start + step] = mask.numpy()
            for number, its_mask in enumerate(mask):
                keep(batcher.push(start + number, pixels[number][its_mask].numpy()))
    keep(batcher.flush())
    texts = np.zeros((*frames.stream_mask.shape, dim), np.float16)
    for start, stop in itertools.pairwise([*range(0, len(texts), CHUNK_TEXTS), len(texts)]):
        tokens = frames.padded_tokens(slice(start, stop)).to(device)
        encoded = encode_tokens(tokens.flatten(0, 1))
        texts[start:stop] = encoded.view(*tokens.shape[:2], -1).cpu().numpy()
    return FeatureSet(frames.video_ids, features, masks, texts, frames.stream_mask, frames.video_of_text)
