"""More than one process: torchrun's environment, and gathering vectors so that gradients flow back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


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
    """Join the processes that torchrun started, over NCCL on GPUs and gloo elsewhere; alone without torchrun."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) < 2:
        yield World()
        return
    backend = "gloo"
    if device == "cuda":
        torch.cuda.set_device(
            int(os.environ.get("LOCAL_RANK", "0"))
        )  # from here on "cuda" is this process's own GPU
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
        dist.barrier()  # no process tears the group down under another one
    finally:
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
    """[part, dim] of every process -> [part * world.size, dim] in rank order, gradients included."""
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
