"""Warm-up and cosine by hand; which parameters decay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.model.max_sim import MaxSim, MaxSimConfig
from tests.model.tiny_clip import write_tiny_clip
from tests.training import test_finetune
from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.train_settings import TrainSettings
from vtrcli.training.finetune import FinetuneEncoder
from vtrcli.training.gradient_cache import backward_in_chunks
from vtrcli.training.step import (
    PairBatch,
    PairEncoder,
    World,
    gather,
    joined_world,
    make_optimizer,
    rate_factor,
)


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


BATCH, DIM = 8, 16


def make_batch(world: World) -> PairBatch:
    generator = torch.Generator().manual_seed(5)
    frames = torch.randn(BATCH, 4, DIM, generator=generator)
    texts = torch.randn(BATCH, 3, DIM, generator=generator)
    return PairBatch(
        world.share(frames),
        world.share(torch.ones(BATCH, 4, dtype=torch.bool)),
        world.share(texts),
        world.share(torch.ones(BATCH, 3, dtype=torch.bool)),
        torch.tensor([0, 1, 2, 3, 0, 5, 6, 7]),  # the same video in both halves
    )


def losses_and_gradients(weights: str) -> dict[str, torch.Tensor]:
    """Run in one process, or in each process of a group; the result must not tell which."""
    found: dict[str, torch.Tensor] = {}
    with joined_world("cpu") as world:
        for name, dsl_temperature in (("infonce", None), ("dsl", 100.0)):
            heads = loss_and_gradients(make_heads(), make_batch(world), world, dsl_temperature)
            found |= {f"{name} {key}": tensor for key, tensor in heads.items()}
        second = PairEncoder(MaxSim(MaxSimConfig(dim=DIM, num_streams=3), 20.0))  # not one vector per video
        several = loss_and_gradients(second, make_batch(world), world, None)
        found |= {f"max-sim {key}": tensor for key, tensor in several.items()}
        encoder = test_finetune.make(weights, freeze_layers=1, gradient_checkpointing=True)
        whole = vars(test_finetune.make_batch())
        numbers = whole.pop("video_numbers")
        batch = PairBatch(*map(world.share, whole.values()), numbers)
        tuned = loss_and_gradients(encoder, batch, world, 100.0)
        found |= {f"finetune {key}": tensor for key, tensor in tuned.items()}
        for name, each, pairs in (("heads", make_heads(), make_batch(world)), ("finetune", encoder, batch)):
            each.zero_grad(set_to_none=True)
            cached = loss_and_gradients(each, pairs, world, 100.0, chunk_size=1)
            found |= {f"{name} in chunks {key}": tensor for key, tensor in cached.items()}
    return found


def make_heads() -> PairEncoder:
    torch.manual_seed(0)
    camoe = Camoe(CamoeConfig(dim=DIM, width=8), logit_scale=20.0)
    for parameter in camoe.parameters():  # away from the zero start, so that every parameter has a gradient
        parameter.data += 0.1 * torch.randn_like(parameter)
    return PairEncoder(camoe)


def loss_and_gradients(
    encoder: PairEncoder | FinetuneEncoder,
    batch: PairBatch,
    world: World,
    dsl_temperature: float | None,
    *,
    chunk_size: int | None = None,
) -> dict[str, torch.Tensor]:
    run: torch.nn.Module = encoder
    if world.size > 1:
        run = torch.nn.parallel.DistributedDataParallel(encoder)
    loss = backward_in_chunks(
        run,
        encoder.head,
        batch,
        chunk_size=chunk_size or len(batch.frames),
        device="cpu",
        world=world,
        dsl_temperature=dsl_temperature,
    )
    gradients = {
        name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None
    }
    return {"loss": loss, **gradients}


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    code = (
        "import os, sys, torch; from tests.training.test_step import losses_and_gradients; "
        "torch.save(losses_and_gradients(sys.argv[2]), sys.argv[1] + os.environ['RANK'])"
    )
    weights = str(write_tiny_clip(tmp_path / "clip.safetensors"))
    environment = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "rank"), weights],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    alone = losses_and_gradients(weights)
    for rank in (0, 1):
        together = torch.load(tmp_path / f"rank{rank}", weights_only=True)
        assert together.keys() == alone.keys() and any("in chunks clip." in name for name in alone)
        for name, expected in alone.items():
            torch.testing.assert_close(together[name], expected, rtol=1e-5, atol=1e-5, msg=name)


def test_alone_nothing_is_gathered() -> None:
    vectors = torch.randn(3, 2)
    assert gather(vectors, World()) is vectors


def free_port() -> int:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
