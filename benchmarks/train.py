"""One epoch over cached features of MSR-VTT's size, and the same step with the nearest peer's head.

Random data: 9,000 videos x 20 captions, 12 frames x 512, batches of 128 pairs, every pair once. The peer's head is a
straightforward port of what CLIP4Clip calls seqTransf: four transformer layers of CLIP's width over the frames with
learned positions, a residual, a masked mean, then cross entropy in both directions.

    python benchmarks/train.py            # a whole epoch, and 20 steps of the peer, in turn
    python benchmarks/train.py --device cuda
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.train_settings import TrainSettings
from vtrcli.training.data import CachedBatches, FeatureSet
from vtrcli.training.step import PairBatch, PairEncoder, World, batch_loss, make_optimizer

Step = Callable[[PairBatch], None]


class SequenceTransformerHead(nn.Module):
    """CLIP4Clip's seqTransf, as its paper and code describe it."""

    def __init__(self, dim: int = 512, num_layers: int = 4, num_frames: int = 12) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            dim, dim // 64, 4 * dim, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.positions = nn.Parameter(0.01 * torch.randn(num_frames, dim))
        self.log_scale = nn.Parameter(torch.tensor(4.6))

    def forward(self, batch: PairBatch) -> torch.Tensor:
        """The batch's loss."""
        frames = batch.frames.float()
        hidden = frames + self.layers(frames + self.positions, src_key_padding_mask=~batch.frame_mask)
        mask = batch.frame_mask.unsqueeze(-1)
        videos = F.normalize((F.normalize(hidden, dim=-1) * mask).sum(1) / mask.sum(1), dim=-1)
        logits = self.log_scale.exp() * F.normalize(batch.texts[:, 0].float(), dim=-1) @ videos.T
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def make_features(num_videos: int, num_captions: int, dim: int, num_frames: int) -> FeatureSet:
    """Random features of a data set's size."""
    rng = np.random.default_rng(0)
    num_texts = num_videos * num_captions
    return FeatureSet(
        video_ids=tuple(map(str, range(num_videos))),
        frames=rng.standard_normal((num_videos, num_frames, dim), np.float32).astype(np.float16),
        frame_mask=np.ones((num_videos, num_frames), bool),
        texts=rng.standard_normal((num_texts, 3, dim), np.float32).astype(np.float16),
        stream_mask=rng.random((num_texts, 3)) < 0.95,
        video_of_text=np.repeat(np.arange(num_videos), num_captions),
    )


def camoe_step(settings: TrainSettings, device: str, dim: int) -> Step:
    """The step of `vtr train` with the default model."""
    camoe = Camoe(CamoeConfig(dim=dim)).to(device)
    encoder = PairEncoder(camoe)
    return _step(camoe, settings, device, lambda batch: batch_loss(
        encoder, camoe, batch, world=World(), dsl_temperature=settings.dsl_temperature
    ))  # fmt: skip


def peer_step(settings: TrainSettings, device: str, dim: int, num_frames: int) -> Step:
    """The same step with the peer's head."""
    head = SequenceTransformerHead(dim, num_frames=num_frames).to(device)
    return _step(head, settings, device, head)


def _step(
    module: nn.Module, settings: TrainSettings, device: str, loss_of: Callable[[PairBatch], torch.Tensor]
) -> Step:
    optimizer = make_optimizer(module, None, settings)

    def step(batch: PairBatch) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            device.partition(":")[0], dtype=torch.bfloat16, enabled=device.startswith("cuda")
        ):
            loss = loss_of(batch.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        loss.item()

    return step


def timed(step: Step, batches: Iterator[PairBatch]) -> tuple[list[float], float]:
    """Seconds of each step, and seconds spent waiting for batches."""
    seconds: list[float] = []
    waited = 0.0
    while True:
        started = time.perf_counter()
        batch = next(batches, None)
        ready = time.perf_counter()
        if batch is None:
            return seconds, waited
        waited += ready - started
        step(batch)
        seconds.append(time.perf_counter() - ready)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--videos", type=int, default=9000)
    parser.add_argument("--captions", type=int, default=20)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--peer-steps", type=int, default=20)
    options = parser.parse_args()
    settings = TrainSettings(captions="all", batch_size=128, dsl_temperature=100.0)
    source = CachedBatches(
        make_features(options.videos, options.captions, options.dim, options.frames), settings, World()
    )
    ours = camoe_step(settings, options.device, options.dim)
    peer = peer_step(settings, options.device, options.dim, options.frames)
    for step in (ours, peer):  # warm-up
        timed(step, itertools.islice(source.batches(1, 0), 3))
    # The peer's steps are taken in four parts around ours, so that a drift of the machine hits both.
    part = max(1, options.peer_steps // 4)
    peer_seconds, our_seconds, waited = [], [], 0.0
    num_batches = source.num_batches()
    for quarter in range(4):
        first, last = quarter * num_batches // 4, (quarter + 1) * num_batches // 4
        seconds, waiting = timed(ours, itertools.islice(source.batches(0, first), last - first))
        our_seconds += seconds
        waited += waiting
        peer_seconds += timed(peer, itertools.islice(source.batches(2, 0), part))[0]
    epoch = sum(our_seconds) + waited
    mine, theirs = statistics.median(our_seconds), statistics.median(peer_seconds)
    print(
        f"{num_batches} steps of {settings.batch_size} pairs on {options.device}, {torch.get_num_threads()} threads"
    )
    print(f"epoch {epoch:.1f} s, of it waiting for data {100 * waited / epoch:.1f} %")
    print(
        f"step {1e3 * mine:.1f} ms (median); peer's head {1e3 * theirs:.1f} ms: {theirs / mine:.1f} times as long"
    )


if __name__ == "__main__":
    main()
