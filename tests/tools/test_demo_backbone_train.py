from __future__ import annotations

import pytest
import torch

from tools.demo_backbone.train import contrastive_loss, train


def test_the_loss_is_small_when_each_text_finds_its_own_picture() -> None:
    assert contrastive_loss(50 * torch.eye(3), ["a", "b", "c"]) < 1e-6
    assert contrastive_loss(-50 * torch.eye(3), ["a", "b", "c"]) > 10


def test_equal_texts_share_their_positives() -> None:
    swapped = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    assert contrastive_loss(swapped, ["a", "b"]).item() == pytest.approx(9, abs=1e-3)
    assert contrastive_loss(swapped, ["a", "a"]).item() == pytest.approx(4.5, abs=1e-3)


@pytest.mark.slow
def test_two_steps_give_a_finite_model_whose_unseen_words_are_zero() -> None:
    model = train(num_steps=2)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    rows = model.token_embedding.weight.abs().sum(dim=1)
    assert rows[0] == 0
    assert 100 < int((rows > 0).sum()) < 1000
