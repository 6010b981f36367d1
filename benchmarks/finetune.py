"""Fine-tuning of ViT-B/32 (random weights) at batch 128 x 12 frames: pairs per second, share of the GPU's bf16 rate.

Random JPEG frames in a store of their own, made by the script. "step" is forward, DSL, backward, clipping and AdamW on
a batch that lies on the device; "with reading" takes the batches from the store: decoding, cropping and copying in
threads beside the steps. The rate of the GPU is that of one large bf16 product in the same run.

Operations are counted by formula, 2 x parameters of the products x tokens + 4 x tokens^2 x width per layer for
attention, times 3 for forward and backward; CAMoE's heads, norms and what checkpointing computes again are left out.
(torch's own counter finds 1.6 % less: the gradient towards the pixels is not computed.)

    python benchmarks/finetune.py                            # on a CUDA device
    python benchmarks/finetune.py --gradient-checkpointing
    python benchmarks/finetune.py --tiny                     # a smoke run on the CPU; its figures mean nothing
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.clip.converted import ClipConfig, preprocessing
from vtrcli.model.clip.finetune import TrainableClip
from vtrcli.model.clip.model import clip_model_module
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.config import BackboneInfo, Description, StoreConfig, create_config
from vtrcli.store.frames import FrameJpegs, encode_jpegs
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter
from vtrcli.training.finetune import FinetuneEncoder, FrameBatches, FrameSet, KeptFrames
from vtrcli.training.step import PairBatch, World, autocast, batch_loss, make_optimizer

END_TOKEN = 49407
VIT_B_32 = ClipConfig(
    embed_dim=512,
    image_resolution=224,
    vision_layers=12,
    vision_width=768,
    vision_patch_size=32,
    context_length=77,
    vocab_size=49408,
    transformer_width=512,
    transformer_heads=8,
    transformer_layers=12,
)
TINY = ClipConfig(
    **{
        **asdict(VIT_B_32),
        "embed_dim": 32,
        "image_resolution": 64,
        "vision_layers": 2,
        "vision_width": 64,
        "transformer_width": 64,
        "transformer_heads": 1,
        "transformer_layers": 2,
    }
)


@dataclass(frozen=True)
class Size:
    """What is measured."""

    clip: ClipConfig
    batch_size: int
    num_frames: int
    num_batches: int


def make_frames(folder: Path, size: Size) -> FrameSet:
    """A store of random pictures, one per pair, and random captions of 8 to 30 tokens (nouns 5, verbs 4)."""
    rng = np.random.default_rng(0)
    num_videos, edge = size.batch_size * size.num_batches, size.clip.image_resolution
    tag = BackboneInfo(name="random", sha256="0" * 64, dim=4, input_size=edge, logit_scale=100.0)
    create_config(folder, StoreConfig(backbone=tag, sampling={}, preprocessing={}))
    writer = StoreWriter(folder, backbone_sha256=tag.sha256)
    for number in range(num_videos):
        record = VideoRecord(
            video_id=str(number), path=f"{number}.mp4", num_bytes=1, mtime_ns=0, fingerprint="",
            duration_seconds=1.0, width=edge, height=edge, codec="h264", extracted_at=0.0,
        )  # fmt: skip
        blocks = rng.integers(0, 256, (size.num_frames, edge // 8, edge // 8, 3), np.uint8)
        images = encode_jpegs(blocks.repeat(8, axis=1).repeat(8, axis=2))
        features = np.ones((size.num_frames, 4), np.float16)
        writer.add(record, features, np.arange(size.num_frames), jpegs=FrameJpegs(images))
    writer.flush()
    tokens = np.zeros((num_videos, 3, 32), np.uint16)
    for row in tokens:
        for stream, length in zip(row, (int(rng.integers(8, 31)), 5, 4), strict=True):
            stream[:length] = [*rng.integers(1, 40_000, length - 1), END_TOKEN]
    names = tuple(str(number) for number in range(num_videos))
    return FrameSet(
        video_ids=names,
        kept=KeptFrames(FeatureStore(folder), names),
        num_frames=size.num_frames,
        size=edge,
        tokens=tokens,
        stream_mask=np.ones((num_videos, 3), bool),
        video_of_text=np.arange(num_videos),
    )


class Trainer:
    """The step of `vtr train --finetune`."""

    def __init__(self, size: Size, settings: TrainSettings, device: str) -> None:
        torch.manual_seed(0)
        clip = clip_model_module().CLIP(**asdict(size.clip)).to(device)
        camoe = Camoe(CamoeConfig(dim=size.clip.embed_dim)).to(device)
        checkpointing = settings.gradient_checkpointing
        info = BackboneInfo(
            name="random",
            sha256="0" * 64,
            dim=size.clip.embed_dim,
            input_size=size.clip.image_resolution,
            logit_scale=100.0,
        )
        tuned = TrainableClip(clip, Description(info, preprocessing(size.clip.image_resolution)))
        self.encoder = FinetuneEncoder(tuned, camoe, gradient_checkpointing=checkpointing)
        self.optimizer = make_optimizer(camoe, clip, settings)
        self.settings, self.device = settings, device

    def step(self, batch: PairBatch) -> None:
        """One update."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.settings, self.device):
            loss = batch_loss(
                self.encoder, self.encoder.head, batch.to(self.device), world=World(), dsl_temperature=100.0
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        self.optimizer.step()
        loss.item()  # waits for the device, as the loop does

    def timed(self, batches: Iterator[PairBatch]) -> list[float]:
        """Seconds from one finished step to the next, waiting for the batch included."""
        seconds, before = [], time.perf_counter()
        for batch in batches:
            self.step(batch)
            seconds.append(time.perf_counter() - before)
            before = time.perf_counter()
        return seconds


def operations(size: Size, tokens: torch.Tensor) -> float:
    """Floating-point operations of one step."""
    clip = size.clip
    patch, layers = clip.vision_patch_size, clip.vision_layers
    if patch is None or not isinstance(layers, int):
        raise ValueError("counted for ViTs only")
    num_patches = (clip.image_resolution // patch) ** 2
    image = tower(layers, clip.vision_width, num_patches + 1, clip.embed_dim)
    image += 2 * 3 * patch**2 * clip.vision_width * num_patches
    text = tower(clip.transformer_layers, clip.transformer_width, tokens.shape[-1], clip.embed_dim)
    num_texts = tokens.shape[0] * tokens.shape[1]
    return 3.0 * (size.batch_size * size.num_frames * image + num_texts * text)


def tower(num_layers: int, width: int, num_tokens: int, dim: int) -> float:
    """Forward operations of a transformer over one item: 12 width^2 parameters a layer, attention, the projection."""
    products = 2.0 * 12 * width**2 * num_tokens
    return num_layers * (products + 4.0 * num_tokens**2 * width) + 2.0 * width * dim


def product_rate(device: str, edge: int) -> float:
    """Operations per second of a bf16 product [edge, edge] x [edge, edge], the median of 20."""
    left, right = (torch.randn(edge, edge, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(25):
        before = time.perf_counter()
        (left @ right)[0, 0].item()
        seconds.append(time.perf_counter() - before)
    return 2.0 * edge**3 / statistics.median(seconds[5:])


def report(size: Size, settings: TrainSettings, device: str, *, num_steps: int, edge: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        frames = make_frames(Path(folder), size)
        source = FrameBatches(frames, settings, World(), pin_memory=device == "cuda")
        trainer = Trainer(size, settings, device)
        batch = next(source.batches(0, 0))
        work = operations(size, batch.texts)
        resident = batch.to(device)
        trainer.timed(itertools.repeat(resident, 3))  # warm-up
        step = statistics.median(trainer.timed(itertools.repeat(resident, num_steps)))
        reading = statistics.median(trainer.timed(source.batches(1, 0))[1:])
    rate = product_rate(device, edge)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU, tiny model: these figures mean nothing"
    again = ", gradient checkpointing" if settings.gradient_checkpointing else ""
    print(
        f"{name} · batch {size.batch_size} x {size.num_frames} frames, texts of {batch.texts.shape[-1]} tokens{again}"
    )
    print(f"bf16 product {rate / 1e12:.1f} TFLOP/s · {work / 1e12:.2f} TFLOP per step by formula")
    for label, seconds in (("step", step), ("with reading", reading)):
        pairs, share = size.batch_size / seconds, 100 * work / seconds / rate
        print(
            f"{label}: {1e3 * seconds:.0f} ms · {pairs:.0f} pairs/s · {share:.1f} % of the bf16 product's rate"
        )
    if device == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        print("no CUDA device here: nothing was measured (--tiny for a smoke run on the CPU)")
        return
    size = Size(TINY, 4, 2, 4) if options.tiny else Size(VIT_B_32, 128, 12, 8)
    settings = TrainSettings(
        batch_size=size.batch_size,
        num_frames=size.num_frames,
        captions="all",
        finetune=True,
        gradient_checkpointing=options.gradient_checkpointing,
    )
    device, edge = ("cpu", 256) if options.tiny else ("cuda", 8192)
    report(size, settings, device, num_steps=options.steps, edge=edge)


if __name__ == "__main__":
    main()
