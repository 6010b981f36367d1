"""The gradients of a whole batch's loss, with the memory of a part: gradient caching.

DSL and InfoNCE grow better with the batch, and a fine-tuned backbone's activations fill a GPU long before its vectors
do. So the vectors of all pairs are made first, chunk by chunk and without activations; the loss of the global batch
gives the gradient of each vector; then each chunk is encoded again, with the same random numbers, and its vectors'
gradients go on into the weights. The cost is one more forward pass.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from vtrcli.model.heads import Head
from vtrcli.training.step import PairBatch, World, backward, vectors_loss

_BUCKET_NUMBERS = 8 << 20  # averaged over the processes at a time: 32 MiB of float32


def backward_in_chunks(
    encoder: nn.Module,
    head: Head,
    batch: PairBatch,
    *,
    chunk_size: int,
    device: str,
    world: World,
    dsl_temperature: float | None,
    number_format: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> torch.Tensor:
    """As `vtrcli.training.step.backward`, with `chunk_size` pairs of this process encoded at a time.

    Args:
        batch: on any device, the host's for large ones; a chunk at a time goes to `device`.
    """
    if chunk_size >= len(batch.frames):
        how: dict[str, Any] = {"device": device, "world": world, "dsl_temperature": dsl_temperature}
        return backward(encoder, head, batch, number_format=number_format, **how)
    # Within DDP, which would average after each of several passes: here the processes do once, at the end.
    encoder = encoder.module if isinstance(encoder, nn.parallel.DistributedDataParallel) else encoder
    chunks = batch.chunks(chunk_size)
    randoms, found = [], []
    for chunk in chunks:
        randoms.append(_RandomState(device))
        # A context each: autocast keeps the weights that it cast, and without gradients here they have none to give.
        with torch.no_grad(), number_format():
            found.append(_encoded(encoder, chunk, device))
    last = _RandomState(device)
    videos, texts = (torch.cat(parts).requires_grad_() for parts in zip(*found, strict=True))
    loss = vectors_loss(
        videos, texts, head, batch.video_numbers.to(device), world=world, dsl_temperature=dsl_temperature
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert videos.grad is not None and texts.grad is not None
    for number, (chunk, random) in enumerate(zip(chunks, randoms, strict=True)):
        rows = slice(number * chunk_size, (number + 1) * chunk_size)
        random.restore()
        with number_format():
            again = _encoded(encoder, chunk, device)
        pairs = zip(again, (videos.grad[rows], texts.grad[rows]), strict=True)
        learnt = [(vectors, gradient) for vectors, gradient in pairs if vectors.requires_grad]
        if learnt:  # a head may have nothing to learn about texts
            torch.autograd.backward([each for each, _ in learnt], [gradient for _, gradient in learnt])
    last.restore()
    average_gradients(encoder, world)
    return loss.detach()


def average_gradients(module: nn.Module, world: World) -> None:
    """The mean of each parameter's gradient over all processes, as DDP makes it; nothing to do alone."""
    if world.size == 1:
        return
    bucket: list[torch.Tensor] = []
    for gradient in (parameter.grad for parameter in module.parameters() if parameter.grad is not None):
        bucket.append(gradient)
        if sum(each.numel() for each in bucket) >= _BUCKET_NUMBERS:
            _average(bucket, world)
            bucket = []
    if bucket:
        _average(bucket, world)


def _average(gradients: list[torch.Tensor], world: World) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world.size
    first = 0
    for gradient in gradients:
        gradient.copy_(flat[first : first + gradient.numel()].view_as(gradient))
        first += gradient.numel()


def _encoded(encoder: nn.Module, chunk: PairBatch, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head makes of a chunk's videos and texts, [chunk, ...] each."""
    there = chunk.to(device)
    vectors: tuple[torch.Tensor, torch.Tensor] = encoder(
        there.frames, there.frame_mask, there.texts, there.stream_mask
    )
    return vectors


class _RandomState:
    """Where the random numbers of the CPU and of the device stand, so that a chunk drops the same twice."""

    def __init__(self, device: str) -> None:
        self._drawn: list[tuple[Callable[[torch.Tensor], None], torch.Tensor]] = [
            (torch.set_rng_state, torch.get_rng_state())
        ]
        if device.startswith("cuda"):
            there = partial(torch.cuda.set_rng_state, device=device)
            self._drawn.append((there, torch.cuda.get_rng_state(device)))
        elif device.startswith("mps"):
            self._drawn.append((torch.mps.set_rng_state, torch.mps.get_rng_state()))

    def restore(self) -> None:
        """Draw the same numbers again from here on."""
        for set_state, state in self._drawn:
            set_state(state)
