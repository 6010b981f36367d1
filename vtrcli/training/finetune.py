"""CLIP in front of the head, trained together: starting weights, encoder, and validation with the CLIP of now."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vtrcli.errors import UsageError
from vtrcli.model.backbone import FrameBatcher, Towers, choose_precision, default_batch_size, torch_dtype
from vtrcli.model.clip.converted import read_header
from vtrcli.model.clip.model import clip_model_module, load_clip, recast_clip, save_converted
from vtrcli.model.clip.towers import encode_images, scaled_pixels
from vtrcli.model.clip.weights import find_weights, lasting_name
from vtrcli.model.heads import Head
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.config import BackboneTag
from vtrcli.store.reader import FeatureStore
from vtrcli.training.data import FeatureSet
from vtrcli.training.frames import ClipRequest, FrameSet, load_clips

CHUNK_FRAMES, CHUNK_TEXTS = 512, 256  # encoded at a time in validation


class FinetuneEncoder(nn.Module):
    """As `PairEncoder`, but from pixels and tokens. `clip` is a `clip.model.CLIP` of float32 weights, with a ViT.

    Raises:
        UsageError: `freeze_layers` leaves no layer to train.
    """

    def __init__(
        self, clip: Any, head: Head, *, freeze_layers: int = 0, gradient_checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.clip, self.head = clip, head
        clip.logit_scale.requires_grad = False  # the head has its own
        freeze(clip, freeze_layers)
        for block in (*clip.visual.transformer.resblocks, *clip.transformer.resblocks):
            if block.attn_mask is not None:  # no buffer: it would be copied to the device in every step
                block.attn_mask = block.attn_mask.to(clip.logit_scale.device)
            if gradient_checkpointing:
                checkpoint_block(block)

    def forward(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor,
        texts: torch.Tensor,
        stream_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels uint8 [part, F, size, size, 3], bool [part, F], token ids int64 [part, E, tokens], bool [part, E] ->
        what the head makes of videos and of texts, [part, ...] each."""
        encoded = self.encode_frames(frames[frame_mask])
        features = encoded.new_zeros(*frame_mask.shape, encoded.shape[-1])
        features[frame_mask] = encoded
        videos = self.head.video_vectors(features, frame_mask)
        return videos, self.head.text_vectors(self.encode_tokens(texts), stream_mask)

    def encode_frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [num_frames, size, size, 3] -> float32 [num_frames, dim]."""
        features: torch.Tensor = self.clip.encode_image(scaled_pixels(pixels)).float()
        return features

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [num_texts, E, tokens] -> float32 [num_texts, E, dim]."""
        features: torch.Tensor = self.clip.encode_text(tokens.flatten(0, 1)).float()
        return features.view(*tokens.shape[:2], -1)


def starting_clip(
    tuned: Path | None, store: FeatureStore, settings: TrainSettings, *, backbone: str | None, device: str
) -> tuple[Any, BackboneTag]:
    """What fine-tuning begins with: the run's own CLIP when it goes on, else `backbone`; None: the store's."""
    if tuned is not None:  # for the sizes; the weights of the last step are in last.safetensors
        return start_clip(str(tuned), device=device)
    stored = store.config.backbone
    torch.manual_seed(settings.seed + 1)  # counts from scratch; not the numbers that the heads draw
    return start_clip(
        backbone or stored.name,
        sha256=None if backbone else stored.sha256,
        from_scratch=settings.from_scratch,
        device=device,
    )


def start_clip(
    name: str, *, sha256: str | None = None, from_scratch: bool = False, device: str
) -> tuple[Any, BackboneTag]:
    """A CLIP of float32 weights, and what it is: of `name` as `load_backbone` takes it, or new weights of its sizes.

    Raises:
        WeightsError: no such weights.
        UsageError: its image tower is a ResNet.
    """
    path = find_weights(name, sha256=sha256)
    config = read_header(path).config
    if not isinstance(config.vision_layers, int):
        raise UsageError(
            f"{name} has a ResNet as its image tower",
            allowed="fine-tuning is for ViT backbones",
            to_do="choose another --backbone, or train on cached features",
        )
    tag = backbone_tag(path, name=lasting_name(name))
    if from_scratch:
        clip = clip_model_module().CLIP(**asdict(config)).to(device)
        scale = math.exp(float(clip.logit_scale.detach()))
        return clip, replace(tag, name=f"{tag.name} from scratch", sha256="", logit_scale=scale)
    return load_clip(path, device=device, dtype=torch.float32).float(), tag


def backbone_tag(path: Path, *, name: str) -> BackboneTag:
    """What a store or a run records of a converted weights file."""
    header = read_header(path)
    return BackboneTag(
        name=name,
        sha256=header.sha256,
        dim=header.config.embed_dim,
        input_size=header.config.image_resolution,
        logit_scale=header.logit_scale,
    )


def save_clip(encoder: FinetuneEncoder, path: Path, *, started_from: str) -> BackboneTag:
    """Write the CLIP so that `--backbone` takes it; its scale is the one that the head has learned.

    Raises:
        WeightsError: the file cannot be written.
    """
    state = {**encoder.clip.state_dict(), "logit_scale": encoder.head.log_scale.detach()}
    save_converted(state, path, name=path.stem, source=f"fine-tuned from {started_from}")
    return backbone_tag(path, name=str(path.resolve()))


def freeze(clip: Any, num_layers: int) -> None:
    """The first layers of both towers, with their embeddings, are not trained; 0 trains all.

    Raises:
        UsageError: both towers have fewer layers.
    """
    visual, most = clip.visual, max(clip.visual.transformer.layers, clip.transformer.layers)
    if num_layers > most:
        raise UsageError(
            f"freeze_layers is {num_layers}",
            allowed=f"this CLIP has {visual.transformer.layers} image and {clip.transformer.layers} text layers",
            to_do="lower --freeze-layers",
        )
    if num_layers:
        embeddings = (visual.conv1, visual.ln_pre, clip.token_embedding)
        layers = (*visual.transformer.resblocks[:num_layers], *clip.transformer.resblocks[:num_layers])
        for module in (*embeddings, *layers):
            module.requires_grad_(False)
        for parameter in (
            visual.class_embedding,
            visual.positional_embedding,
            clip.positional_embedding,
        ):
            parameter.requires_grad_(False)


def checkpoint_block(block: nn.Module) -> None:
    """Compute the block again in the backward pass instead of keeping its inner values; parameters keep their names."""
    forward = block.forward

    def run(hidden: torch.Tensor) -> Any:
        if not torch.is_grad_enabled():
            return forward(hidden)
        return checkpoint(forward, hidden, use_reentrant=False, preserve_rng_state=False)  # no dropout

    block.forward = run  # type: ignore[method-assign]


@torch.inference_mode()
def encode_set(encoder: FinetuneEncoder, frames: FrameSet, *, device: str) -> FeatureSet:
    """Features of a split by the CLIP of now, as a store made with it has them; frames are taken whole.

    In the precision and the batches of `vtr cache` and `vtr extract`, so that `vtr eval` finds the numbers of the
    validation again: those of frames are the same bits, those of texts differ by a last bit of float16 at most, since
    their batches depend on what else is encoded.
    """
    num_videos, num_frames = len(frames.video_ids), frames.num_frames
    dim = encoder.head.config.dim
    features = np.zeros((num_videos, num_frames, dim), np.float16)
    masks = np.zeros((num_videos, num_frames), bool)
    towers: tuple[Towers, ...] = ("image", "text")
    image_clip, text_clip = (
        recast_clip(encoder.clip, dtype=torch_dtype(choose_precision("auto", device=device, towers=tower)))
        for tower in towers
    )
    batcher = FrameBatcher(
        lambda pixels: encode_images(image_clip, pixels, device=device),
        batch_size=default_batch_size(device),
        input_size=frames.size,
    )
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
        encoded = text_clip.encode_text(tokens.flatten(0, 1)).float()
        texts[start:stop] = encoded.view(*tokens.shape[:2], -1).cpu().numpy()
    return FeatureSet(frames.video_ids, features, masks, texts, frames.stream_mask, frames.video_of_text)
