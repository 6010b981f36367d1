"""InfoNCE and DSL against literal transcriptions, laws, odd batches and the real matrix."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from vtrcli.errors import InputError
from vtrcli.model.losses import contrastive_loss, dsl_logits, row_losses


def random_logits(num_texts: int, num_videos: int, *, seed: int = 0) -> torch.Tensor:
    """100 x cosine of unrelated vectors, as the loss sees them."""
    generator = torch.Generator().manual_seed(seed)
    texts = F.normalize(torch.randn(num_texts, 16, generator=generator), dim=1)
    videos = F.normalize(torch.randn(num_videos, 16, generator=generator), dim=1)
    return 100 * texts @ videos.T


def released_direction(similarity: torch.Tensor, temperature: float) -> torch.Tensor:
    """The authors' loss as paper.md describes their file: one direction, one value per row."""
    revised = similarity * torch.softmax(similarity / temperature, dim=0) * len(similarity)
    return -torch.diag(F.log_softmax(revised, dim=-1))


@pytest.mark.parametrize("temperature", [1000.0, 100.0, 10.0])
def test_dsl_is_the_released_formula_in_both_directions(temperature: float) -> None:
    logits = random_logits(32, 32)
    expected = (
        released_direction(logits, temperature).mean() + released_direction(logits.T, temperature).mean()
    ) / 2
    loss = contrastive_loss(logits, dsl_temperature=temperature)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


def test_one_direction_of_dsl_is_the_released_vector_at_its_temperature() -> None:
    logits = random_logits(48, 48)
    rows = row_losses(dsl_logits(logits, temperature=1000, prior="rows"), torch.eye(48, dtype=torch.bool))
    torch.testing.assert_close(rows, released_direction(logits, 1000), rtol=1e-6, atol=1e-6)


def test_without_a_temperature_it_is_the_mean_of_two_cross_entropies() -> None:
    logits = random_logits(20, 20)
    truth = torch.arange(20)
    expected = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
    torch.testing.assert_close(contrastive_loss(logits, dsl_temperature=None), expected, rtol=1e-6, atol=1e-6)


def test_an_endless_temperature_is_infonce() -> None:
    logits = random_logits(20, 20)
    plain = contrastive_loss(logits, dsl_temperature=None)
    torch.testing.assert_close(contrastive_loss(logits, dsl_temperature=1e9), plain, rtol=1e-5, atol=1e-5)


def test_the_prior_of_two_texts_and_two_videos_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 1.0], [0.0, 1.0]])
    over_texts = dsl_logits(logits, temperature=1, prior="rows")
    torch.testing.assert_close(over_texts, torch.tensor([[2 * math.log(3.0) * 0.75, 1.0], [0.0, 1.0]]))
    over_videos = dsl_logits(logits, temperature=1, prior="columns")
    first, second = 3 / (3 + math.e), 1 / (1 + math.e)
    by_hand = [[2 * math.log(3.0) * first, 2 * (1 - first)], [0.0, 2 * (1 - second)]]
    torch.testing.assert_close(over_videos, torch.tensor(by_hand))


def test_the_factor_is_the_length_of_the_axis_of_the_prior() -> None:
    logits = torch.ones(6, 3)
    torch.testing.assert_close(dsl_logits(logits, temperature=5, prior="rows"), logits)
    torch.testing.assert_close(dsl_logits(logits, temperature=5, prior="columns"), logits)


def test_the_gradient_flows_through_the_prior() -> None:
    logits = random_logits(8, 8).requires_grad_()
    detached = logits * (logits / 30).softmax(dim=0).detach() * 8
    (with_prior,) = torch.autograd.grad(dsl_logits(logits, temperature=30, prior="rows").sum(), logits)
    (without,) = torch.autograd.grad(detached.sum(), logits)
    assert not torch.allclose(with_prior, without, rtol=1e-2)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.sampled_from([None, 1000.0, 30.0]), st.integers(0, 1000))
def test_the_order_of_the_batch_does_not_matter(size: int, temperature: float | None, seed: int) -> None:
    logits = random_logits(size, size, seed=seed)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        contrastive_loss(logits[order][:, order], dsl_temperature=temperature),
        contrastive_loss(logits, dsl_temperature=temperature),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("temperature", [None, 100.0])
def test_texts_and_videos_can_change_places(temperature: float | None) -> None:
    logits = random_logits(9, 9)
    torch.testing.assert_close(
        contrastive_loss(logits.T, dsl_temperature=temperature),
        contrastive_loss(logits, dsl_temperature=temperature),
    )


def test_two_captions_of_one_video_are_no_negatives_of_each_other() -> None:
    logits = random_logits(4, 4)
    logits[:, 3] = logits[:, 2]  # video 3 is video 2 again
    positives = torch.eye(4, dtype=torch.bool)
    positives[2, 3] = positives[3, 2] = True
    rows = row_losses(logits, positives)
    expected = -torch.log_softmax(logits[2, [0, 1, 2]], dim=0)[2]
    torch.testing.assert_close(rows[2], expected, rtol=1e-6, atol=1e-6)
    assert contrastive_loss(logits, dsl_temperature=None, positives=positives) < contrastive_loss(
        logits, dsl_temperature=None
    )


def test_a_positive_competes_with_the_negatives_only_and_a_row_is_their_mean() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    positives = torch.tensor([[True, True, False]])
    first, second = -torch.log_softmax(torch.tensor([[2.0, 0.0], [1.0, 0.0]]), dim=1)[:, 0]
    torch.testing.assert_close(row_losses(logits, positives), ((first + second) / 2).reshape(1))


@pytest.mark.parametrize("temperature", [None, 100.0])
def test_several_captions_per_video_make_a_rectangle(temperature: float | None) -> None:
    logits = random_logits(12, 4).requires_grad_()
    positives = torch.arange(12).unsqueeze(1) % 4 == torch.arange(4)
    loss = contrastive_loss(logits, dsl_temperature=temperature, positives=positives)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    assert (gradient[positives] <= 0).float().mean() > 0.9  # the pairs are pulled together


@pytest.mark.parametrize("temperature", [None, 1000.0])
def test_a_batch_of_one_video_has_nothing_to_learn_and_no_nan(temperature: float | None) -> None:
    logits = torch.tensor([[30.0]], requires_grad=True)
    loss = contrastive_loss(logits, dsl_temperature=temperature)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0 and gradient.item() == 0


@pytest.mark.parametrize("temperature", [None, 30.0])
def test_half_precision_logits_are_computed_in_float32(temperature: float | None) -> None:
    logits = random_logits(16, 16).bfloat16()
    loss = contrastive_loss(logits, dsl_temperature=temperature)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, contrastive_loss(logits.float(), dsl_temperature=temperature))


def test_a_nan_in_the_logits_reaches_the_loss() -> None:
    logits = random_logits(4, 4)
    logits[1, 2] = math.nan
    assert contrastive_loss(logits, dsl_temperature=100).isnan()


def test_a_rectangle_without_positives_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        contrastive_loss(torch.zeros(3, 2), dsl_temperature=None)
    assert str(caught.value) == (
        "3 texts and 2 videos in a batch; as many texts as videos, in the same order; "
        "say with `positives` which text describes which video"
    )


def test_a_text_without_a_video_is_refused() -> None:
    positives = torch.tensor([[True, True], [False, False]])
    with pytest.raises(InputError) as caught:
        contrastive_loss(torch.zeros(2, 2), dsl_temperature=None, positives=positives)
    assert str(caught.value) == (
        "positives [2, 2] for logits [2, 2]; the same shape, with at least one True in each row and column; "
        "give each text its video and each video a text"
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(InputError) as caught:
        contrastive_loss(torch.zeros(2, 2), dsl_temperature=temperature)
    assert str(caught.value) == (
        f"DSL temperature {temperature}; a positive number, 30 to 300 for training on 100 x cosine; "
        "leave it out for InfoNCE"
    )


# The table of docs/camoe.md: temperature, loss, cosine with InfoNCE's gradient and ratio of the norms, each the mean
# over both directions and seven batches of 128 in the order of the file; InfoNCE's own loss is 0.985.
@pytest.mark.parametrize(
    ("temperature", "loss", "cosine", "ratio"),
    [
        (1000.0, 0.9936, 0.9998, 1.032),
        (300.0, 1.0175, 0.9979, 1.11),
        (100.0, 1.114, 0.985, 1.36),
        (30.0, 1.706, 0.916, 2.57),
        (10.0, 5.47, 0.788, 10.06),
        (1.0, 156.9, 0.473, 657.2),
    ],
)
def test_how_much_dsl_changes_the_gradient_on_a_real_matrix(
    temperature: float, loss: float, cosine: float, ratio: float, test_data: Path
) -> None:
    matrix = torch.from_numpy(100 * np.load(test_data / "similarities" / "msrvtt_1ka_vitb32.npy"))
    diagonal = torch.eye(128, dtype=torch.bool)
    figures = []
    for start in range(0, 1000 - 127, 128):
        block = matrix[start : start + 128, start : start + 128]
        for direction in (block, block.T):
            logits = direction.clone().requires_grad_()
            plain = row_losses(logits, diagonal).mean()
            dsl = row_losses(dsl_logits(logits, temperature=temperature, prior="rows"), diagonal).mean()
            (before,) = torch.autograd.grad(plain, logits)
            (after,) = torch.autograd.grad(dsl, logits)
            overlap = F.cosine_similarity(before.flatten(), after.flatten(), dim=0)
            figures.append(torch.stack([plain, dsl, overlap, after.norm() / before.norm()]).detach())
    measured = torch.stack(figures).mean(dim=0).tolist()
    assert measured == pytest.approx([0.985, loss, cosine, ratio], rel=5e-3)
    assert measured[2] == pytest.approx(cosine, abs=5e-5 if cosine > 0.999 else 5e-3)
