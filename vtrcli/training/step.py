"""One step of training: pairs -> vectors -> the loss of the global batch; AdamW and its rate; more than one process.

With several processes (torchrun) vectors are gathered so that gradients flow back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from vtrcli.errors import WeightsError, brief
from vtrcli.model.heads import Head
from vtrcli.model.train_settings import TrainSettings

# CLIP's own values, which CLIP4Clip and its successors keep.
BETAS, EPSILON = (0.9, 0.98), 1e-6


@dataclass(frozen=True)
class PairBatch:
    """This process's pairs of a global batch.

    `frames` [part, F, dim] features (or uint8 [part, F, size, size, 3] pixels when fine-tuning), `frame_mask` bool
    [part, F], `texts` [part, E, dim] (or token ids [part, E, tokens]), `stream_mask` bool [part, E];
    `video_numbers` int64 [global batch]: two pairs of the same video are no negatives of each other.
    """

    frames: torch.Tensor
    frame_mask: torch.Tensor
    texts: torch.Tensor
    stream_mask: torch.Tensor
    video_numbers: torch.Tensor

    def to(self, device: str) -> PairBatch:
        """The batch on another device."""
        return PairBatch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))

    def chunks(self, num_pairs: int) -> list[PairBatch]:
        """The pairs of this process, so many at a time (views); the numbers of the global batch go with each."""
        found = []
        for first in range(0, len(self.frames), num_pairs):
            rows = slice(first, first + num_pairs)
            parts = (self.frames[rows], self.frame_mask[rows], self.texts[rows], self.stream_mask[rows])
            found.append(PairBatch(*parts, self.video_numbers))
        return found


class PairEncoder(nn.Module):
    """A head on cached features. Fine-tuning puts CLIP in front of it (`vtrcli.training.finetune`)."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        frames: torch.Tensor,
        frame_mask: torch.Tensor,
        texts: torch.Tensor,
        stream_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head makes of videos and of texts, [part, ...] each."""
        return self.head.video_vectors(frames, frame_mask), self.head.text_vectors(texts, stream_mask)


def batch_loss(
    encoder: nn.Module, head: Head, batch: PairBatch, *, world: World, dsl_temperature: float | None
) -> torch.Tensor:
    """The head's loss of the global batch, the same in every process; gradients are complete after DDP's averaging.

    `encoder` is the one that holds the head, or DDP around it.
    """
    videos, texts = encoder(batch.frames, batch.frame_mask, batch.texts, batch.stream_mask)
    return vectors_loss(
        videos, texts, head, batch.video_numbers, world=world, dsl_temperature=dsl_temperature
    )


def vectors_loss(
    videos: torch.Tensor,
    texts: torch.Tensor,
    head: Head,
    numbers: torch.Tensor,
    *,
    world: World,
    dsl_temperature: float | None,
) -> torch.Tensor:
    """As `batch_loss`, of what the head made of this process's videos and texts; `numbers` of the global batch."""
    positives = None
    if len(torch.unique(numbers)) < len(numbers):
        positives = numbers[:, None] == numbers[None, :]
    videos, texts = gather(videos, world).float(), gather(texts, world).float()
    with torch.autocast(videos.device.type, enabled=False):
        return head.loss(texts, videos, dsl_temperature=dsl_temperature, positives=positives)


def backward(
    encoder: nn.Module,
    head: Head,
    batch: PairBatch,
    *,
    device: str,
    world: World,
    dsl_temperature: float | None,
    number_format: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> torch.Tensor:
    """The loss of the global batch, detached; its gradients are added to those of the parameters, complete and the same
    in every process.

    Args:
        encoder: the one that holds the head, or DDP around it.
        number_format: makes a context to encode in, as `autocast`.
    """
    with number_format():
        loss = batch_loss(encoder, head, batch.to(device), world=world, dsl_temperature=dsl_temperature)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def autocast(settings: TrainSettings, device: str) -> torch.autocast:
    """The number format of a step: `auto` is bfloat16 on a GPU and float32 on a CPU, where runs then repeat bit for
    bit."""
    on_gpu = device.startswith("cuda")
    enabled = on_gpu if settings.precision == "auto" else settings.precision == "bfloat16"
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16, enabled=enabled)


def make_optimizer(
    head: Head | nn.Module, backbone: nn.Module | None, settings: TrainSettings
) -> torch.optim.AdamW:
    """One group per learning rate and decay; vectors and scalars (biases, norms, scales) do not decay."""
    groups: list[dict[str, Any]] = []
    modules: list[tuple[Head | nn.Module, float]] = [(head, settings.learning_rate)]
    if backbone is not None:
        modules.append((backbone, settings.backbone_learning_rate))
    for module, rate in modules:
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for decay, members in (
            (settings.weight_decay, [parameter for parameter in trained if parameter.ndim > 1]),
            (0.0, [parameter for parameter in trained if parameter.ndim <= 1]),
        ):
            if members:
                groups.append({"params": members, "lr": rate, "weight_decay": decay, "initial_lr": rate})
    return torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)


def num_warmup_steps(num_steps: int, warmup_share: float) -> int:
    """In how many steps, of all that a run has, the rate rises."""
    return int(warmup_share * num_steps)


def rate_factor(step: int, *, num_steps: int, warmup_share: float) -> float:
    """What a learning rate is multiplied by at `step` (from 0): linear warm-up, then half a cosine to zero."""
    num_warmup = num_warmup_steps(num_steps, warmup_share)
    if step < num_warmup:
        return (step + 1) / num_warmup
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@dataclass(frozen=True)
class World:
    """This process among `size`; a single process is rank 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: Any) -> Any:
        """This process's part of a global batch (an array); what does not divide evenly is left out."""
        part = len(batch) // self.size
        return batch[self.rank * part : (self.rank + 1) * part]

    def trimmed(self, batch: Any) -> Any:
        """The global batch without the rows that `share` leaves out."""
        return batch[: len(batch) // self.size * self.size]


@contextmanager
def joined_world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, over NCCL on GPUs and gloo elsewhere; alone without torchrun.

    Raises:
        WeightsError: the others cannot be reached, or one of them is gone; the run's folder holds what was saved.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) < 2:
        yield World()
        return
    backend = "gloo"
    if device == "cuda":
        # From here on "cuda" is this process's own GPU.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    who = f"process {int(os.environ.get('RANK', '0')) + 1} of {os.environ['WORLD_SIZE']}"
    try:
        dist.init_process_group(backend)
        dist.barrier()  # connects
    except RuntimeError as cause:
        raise WeightsError(
            f"{who} does not reach the others: {brief(cause)}",
            allowed="processes that reach each other by the addresses of one network",
            to_do="name its interface in GLOO_SOCKET_IFNAME (with GPUs NCCL_SOCKET_IFNAME too), see `ip address`",
        ) from cause
    try:
        yield World(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # no process tears the group down under another one
    except RuntimeError as cause:
        if not (isinstance(cause, dist.DistError) or "gloo" in str(cause).lower()):
            raise
        raise WeightsError(
            f"{who} lost another one: {brief(cause)}",
            allowed="all of them until the end",
            to_do="start all of them again with --resume: it goes on where the run was saved last",
        ) from cause
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def any_process(here: bool, world: World) -> bool:
    """Whether any process was asked to stop, so that all stop after the same step."""
    if world.size == 1:
        return here
    flag = torch.tensor(float(here))
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


def from_first(value: float, world: World) -> float:
    """The first process's value, so that rounding cannot make processes decide differently."""
    if world.size == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def gather(vectors: torch.Tensor, world: World) -> torch.Tensor:
    """[part, ...] of every process -> [part * world.size, ...] in rank order, gradients included."""
    if world.size == 1:
        return vectors
    gathered: torch.Tensor = _Gather.apply(vectors, world)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """Forward: all_gather. Backward: the gradients of all processes for this process's rows, summed.

    Every process computes the whole loss. DDP then averages the parameters' gradients over the processes, so the
    sum here makes them those of one process at the global batch.
    """

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, world: World) -> torch.Tensor:
        ctx.world, ctx.part = world, len(vectors)
        parts = [torch.empty_like(vectors) for _ in range(world.size)]
        dist.all_gather(parts, vectors.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[ctx.world.rank * ctx.part : (ctx.world.rank + 1) * ctx.part], None
