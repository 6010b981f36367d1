"""The three aggregators: what they start as, what they may see, and what masks must hide."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vtrcli.model.camoe import (
    AttentionAggregator,
    MeanAggregator,
    SqueezeExciteAggregator,
    masked_mean,
)

NAMES = ("mean", "se", "attention")
DIM, NUM_EXPERTS = 8, 2


def make(name: str, *, trained: bool = True) -> nn.Module:
    torch.manual_seed(0)
    if name == "mean":
        module: nn.Module = MeanAggregator(num_experts=NUM_EXPERTS)
    elif name == "se":
        module = SqueezeExciteAggregator(DIM, num_experts=NUM_EXPERTS, width=16)
    else:
        module = AttentionAggregator(
            DIM, num_experts=NUM_EXPERTS, width=16, num_layers=2, num_heads=2, num_positions=5, dropout=0.0
        )
    if trained:  # away from the zeros that every aggregator starts with
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    return module.eval()


def unit_frames(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random unit frames for videos of these lengths, padded with zeros."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    frames = F.normalize(torch.randn(*mask.shape, DIM, generator=generator), dim=-1)
    return frames * mask.unsqueeze(-1), mask


@pytest.mark.parametrize("name", NAMES)
def test_untrained_every_expert_is_the_mean_of_the_frames(name: str) -> None:
    frames, mask = unit_frames(5, 3, 1)
    vectors = make(name, trained=False)(frames, mask)
    mean = torch.stack([frames[0].mean(dim=0), frames[1, :3].mean(dim=0), frames[2, 0]])
    torch.testing.assert_close(vectors, mean.unsqueeze(1).expand(-1, NUM_EXPERTS, -1))


@pytest.mark.parametrize("name", NAMES)
def test_a_video_is_the_same_alone_and_padded_in_a_batch(name: str) -> None:
    frames, mask = unit_frames(6, 3)
    module = make(name)
    alone = module(frames[1:, :3], mask[1:, :3])
    torch.testing.assert_close(module(frames, mask)[1:], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_holes_in_the_mask_close_up(name: str) -> None:
    frames, mask = unit_frames(4)
    spread = torch.zeros(1, 7, DIM)
    spread_mask = torch.tensor([[False, True, True, False, True, False, True]])
    spread[spread_mask] = frames[0]
    module = make(name)
    torch.testing.assert_close(module(spread, spread_mask), module(frames, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "sees_order"), [("mean", False), ("se", False), ("attention", True)])
def test_only_attention_tells_a_video_from_its_reverse(name: str, sees_order: bool) -> None:
    frames, mask = unit_frames(6)
    module = make(name)
    difference = (module(frames, mask) - module(frames.flip(1), mask)).abs().max()
    assert bool(difference > 1e-3) is sees_order


@pytest.mark.parametrize("name", ["se", "attention"])
def test_trained_experts_differ(name: str) -> None:
    frames, mask = unit_frames(6)
    first, second = make(name)(frames, mask)[0]
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["se", "attention"])
def test_the_first_step_already_has_a_gradient(name: str) -> None:
    frames, mask = unit_frames(6, 4)
    module = make(name, trained=False)
    torch.manual_seed(2)
    (module(frames, mask) * torch.randn(2, NUM_EXPERTS, DIM)).sum().backward()
    assert any(bool(p.grad is not None and p.grad.abs().max() > 0) for p in module.parameters())


def test_attention_takes_fewer_and_many_more_frames_than_positions() -> None:
    module = make("attention")
    for num_frames in (1, 2, 300):
        assert torch.isfinite(module(*unit_frames(num_frames))).all()


def test_frames_take_their_place_between_first_and_last_slot() -> None:
    three_slots = AttentionAggregator(
        DIM, num_experts=1, width=2, num_layers=1, num_heads=1, num_positions=3, dropout=0.0
    )
    mask = torch.tensor([[True, True, True, True], [True, False, True, False], [False, True, False, False]])
    third = 1 / 3
    expected = [
        [[1, 0, 0], [third, 2 * third, 0], [0, 2 * third, third], [0, 0, 1]],
        [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]],
        [[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]],
    ]
    torch.testing.assert_close(three_slots.places(mask), torch.tensor(expected, dtype=torch.float32))


def test_squeeze_excite_keeps_to_the_span_of_the_frames() -> None:
    frames, mask = unit_frames(3)
    vectors = make("se")(frames, mask)[0]
    solution = torch.linalg.lstsq(frames[0].T, vectors.T).solution  # weights of the frames
    torch.testing.assert_close(frames[0].T @ solution, vectors.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(solution.sum(dim=0), torch.ones(NUM_EXPERTS), rtol=1e-4, atol=1e-5)
    assert (solution > 0).all()


def test_masked_mean_counts_only_what_the_mask_counts() -> None:
    frames = torch.tensor([[[2.0], [4.0], [0.0]]])
    torch.testing.assert_close(
        masked_mean(frames, torch.tensor([[True, True, False]])), torch.tensor([[3.0]])
    )
