"""Gradients by chunks are those of the whole batch: for each loss, with dropout, in less memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.training import test_finetune
from tests.training.test_step import DIM, make_batch, make_heads
from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.train_settings import TrainSettings
from vtrcli.training.finetune import FinetuneEncoder
from vtrcli.training.gradient_cache import backward_in_chunks
from vtrcli.training.step import PairBatch, PairEncoder, World, autocast, vectors_loss

Encoder = PairEncoder | FinetuneEncoder
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]
MPS = pytest.param(
    "mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs Apple's MPS")
)


def gradients(
    encoder: Encoder,
    batch: PairBatch,
    *,
    chunk_size: int | None,
    dsl_temperature: float | None = None,
    settings: TrainSettings | None = None,
    device: str = "cpu",
) -> dict[str, torch.Tensor]:
    """Of all parameters that have one, and the loss."""
    encoder = encoder.to(device)
    told = settings or TrainSettings(precision="float32")
    loss = backward_in_chunks(
        encoder,
        encoder.head,
        batch,
        chunk_size=chunk_size or len(batch.frames),
        device=device,
        world=World(),
        dsl_temperature=dsl_temperature,
        number_format=lambda: autocast(told, device),
    )
    found = {name: each.grad for name, each in encoder.named_parameters() if each.grad is not None}
    return {"loss": loss, **found}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], *, near: float) -> None:
    """To a share of each tensor's largest value, or of a hundredth of the largest of all: some are nothing but rounding
    (a bias in front of a softmax). On a GPU convolutions round to TF32, and sums have no fixed order."""
    near = near if expected["loss"].device.type == "cpu" else max(near, 1e-3)
    assert found.keys() == expected.keys()
    largest = {name: float(right.abs().max()) for name, right in expected.items()}
    for name, right in expected.items():
        size = max(largest[name], max(largest.values()) / 100)
        torch.testing.assert_close(found[name], right, rtol=0, atol=near * size, msg=name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("chunk_size", [1, 3])
@pytest.mark.parametrize("dsl_temperature", [None, 100.0, 5.0])
def test_chunks_give_the_gradients_of_the_whole_batch(
    dsl_temperature: float | None, chunk_size: int, device: str
) -> None:
    batch = make_batch(World())  # two pairs of it share a video, in different chunks
    expected = gradients(make_heads(), batch, chunk_size=None, dsl_temperature=dsl_temperature, device=device)
    found = gradients(
        make_heads(), batch, chunk_size=chunk_size, dsl_temperature=dsl_temperature, device=device
    )
    assert_same(found, expected, near=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("freeze_layers", [0, 1])
def test_a_backbone_that_is_tuned_gets_them_too(weights: str, freeze_layers: int, device: str) -> None:
    batch = test_finetune.make_batch()
    found, expected = (
        gradients(
            test_finetune.make(
                weights, freeze_layers=freeze_layers, gradient_checkpointing=chunk is not None
            ),
            batch,
            chunk_size=chunk,
            dsl_temperature=100.0,
            device=device,
        )
        for chunk in (3, None)
    )
    assert sum(name.startswith("clip.") for name in expected) > 20
    assert_same(found, expected, near=1e-4)


def dropping() -> PairEncoder:
    """A head that drops half of what its attention sees."""
    torch.manual_seed(0)
    camoe = Camoe(CamoeConfig(dim=DIM, width=8, dropout=0.5), logit_scale=20.0)
    for parameter in camoe.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return PairEncoder(camoe)


@pytest.mark.parametrize("device", [*DEVICES, MPS])
@pytest.mark.parametrize("dsl_temperature", [None, 100.0])
def test_both_passes_drop_the_same_and_the_next_step_draws_on(
    dsl_temperature: float | None, device: str
) -> None:
    """Beside one graph over the same chunks, in the same order, whose activations are all kept."""
    batch, cached, direct = make_batch(World()), dropping().to(device).train(), dropping().to(device).train()
    torch.manual_seed(3)
    found = gradients(cached, batch, chunk_size=3, dsl_temperature=dsl_temperature, device=device)
    after = torch.rand(4, device=device)
    torch.manual_seed(3)
    parts = [
        direct(chunk.frames, chunk.frame_mask, chunk.texts, chunk.stream_mask)
        for chunk in batch.to(device).chunks(3)
    ]
    videos, texts = (torch.cat(each) for each in zip(*parts, strict=True))
    numbers = batch.video_numbers.to(device)
    loss = vectors_loss(videos, texts, direct.head, numbers, world=World(), dsl_temperature=dsl_temperature)
    loss.backward()
    expected = {name: each.grad for name, each in direct.named_parameters() if each.grad is not None}
    assert_same(found, {"loss": loss.detach(), **expected}, near=1e-5)
    assert torch.equal(after, torch.rand(4, device=device))
    torch.manual_seed(4)  # other numbers drop something else, or the law above says nothing
    others = gradients(
        dropping().train(), batch, chunk_size=3, dsl_temperature=dsl_temperature, device=device
    )
    assert not torch.equal(others["loss"], found["loss"])


@pytest.mark.parametrize("device", DEVICES)
def test_in_bfloat16_the_weights_have_gradients_in_the_second_pass(weights: str, device: str) -> None:
    """autocast keeps weights that it cast; those of the first pass have no gradients to give."""
    batch, half = test_finetune.make_batch(), TrainSettings(precision="bfloat16")
    found = gradients(test_finetune.make(weights), batch, chunk_size=2, settings=half, device=device)
    expected = gradients(test_finetune.make(weights), batch, chunk_size=None, settings=half, device=device)
    assert found.keys() == expected.keys()
    both = (torch.cat([each[name].flatten().cpu() for name in expected]) for each in (found, expected))
    assert torch.cosine_similarity(*both, dim=0) > 0.99


class Counting(nn.Module):
    """An encoder that remembers how many pairs its graphs hold at a time, at most."""

    def __init__(self, inner: PairEncoder) -> None:
        super().__init__()
        self.inner, self.head = inner, inner.head
        self.held = self.most = 0

    def forward(self, frames: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        videos, texts = self.inner(frames, *rest)
        if videos.requires_grad:
            self.held += len(frames)
            self.most = max(self.most, self.held)
            videos = _Releasing.apply(videos, lambda: self._release(len(frames)))
        return videos, texts

    def _release(self, num_pairs: int) -> None:
        self.held -= num_pairs


class _Releasing(torch.autograd.Function):
    """Tells when the graph behind it is gone back through."""

    @staticmethod
    def forward(ctx, vectors: torch.Tensor, tell: Callable[[], None]) -> torch.Tensor:
        ctx.tell = tell
        return vectors.clone()

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        ctx.tell()
        return gradient, None


@pytest.mark.parametrize(("chunk_size", "most"), [(None, 8), (3, 3), (1, 1)])
def test_no_more_than_a_chunk_has_activations_at_a_time(chunk_size: int | None, most: int) -> None:
    encoder = Counting(make_heads())
    gradients(encoder, make_batch(World()), chunk_size=chunk_size)  # type: ignore[arg-type]
    assert (encoder.most, encoder.held) == (most, 0)
