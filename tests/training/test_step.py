"""Warm-up and cosine by hand; which parameters decay."""

from __future__ import annotations

import pytest

from vtrcli.model.camoe import Camoe, CamoeConfig
from vtrcli.model.train_settings import TrainSettings
from vtrcli.training.step import make_optimizer, rate_factor


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (9, 1.0), (10, 1.0), (55, 0.5), (100, 0.0), (200, 0.0)]
)
def test_the_rate_warms_up_linearly_and_falls_as_half_a_cosine(step: int, expected: float) -> None:
    assert rate_factor(step, num_steps=100, warmup_share=0.1) == pytest.approx(expected, abs=1e-9)


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert rate_factor(0, num_steps=10, warmup_share=0.0) == 1.0


def test_vectors_and_scalars_do_not_decay() -> None:
    camoe = Camoe(CamoeConfig(dim=8, width=8))
    optimizer = make_optimizer(camoe, None, TrainSettings(weight_decay=0.3))
    decays = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(decays) == len(list(camoe.parameters()))
    for name, parameter in camoe.named_parameters():
        assert decays[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name
