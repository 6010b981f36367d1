"""Saved state is restored to the bit; damage and foreign files are one clear line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from vtrcli.errors import WeightsError
from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.runs import load_weights, save_weights
from vtrcli.model.train_settings import TrainSettings
from vtrcli.training.record import TrainState, load_state, save_state
from vtrcli.training.step import make_optimizer


def make(width: int = 8) -> tuple[Camoe, torch.optim.Optimizer]:
    torch.manual_seed(0)
    camoe = Camoe(CamoeConfig(dim=8, width=width))
    return camoe, make_optimizer(camoe, None, TrainSettings())


def step(camoe: Camoe, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    sum((parameter * torch.rand_like(parameter)).sum() for parameter in camoe.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()


def test_going_on_from_a_saved_state_equals_never_stopping(tmp_path: Path) -> None:
    camoe, optimizer = make()
    step(camoe, optimizer)
    save_state(
        tmp_path / "last.safetensors", camoe, optimizer, TrainState(epoch=2, batch=3, step=9, best=1.5)
    )
    step(camoe, optimizer)
    expected = [parameter.clone() for parameter in camoe.parameters()]
    torch.manual_seed(99)
    again, optimizer = make()
    progress = load_state(tmp_path / "last.safetensors", again, optimizer)
    assert progress == TrainState(epoch=2, batch=3, step=9, best=1.5)
    step(again, optimizer)
    for one, other in zip(expected, again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_state_that_never_had_a_best_survives(tmp_path: Path) -> None:
    camoe, optimizer = make()
    save_state(tmp_path / "last.safetensors", camoe, optimizer, TrainState())
    assert load_state(tmp_path / "last.safetensors", camoe, optimizer) == TrainState()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "model.safetensors", make(width=8)[0])
    with pytest.raises(WeightsError, match="holds weights of another model"):
        load_weights(tmp_path / "model.safetensors", make(width=16)[0])


@pytest.mark.parametrize("damage", ["cut", "foreign", "missing"])
def test_a_damaged_or_foreign_checkpoint_is_one_clear_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.safetensors"
    camoe, optimizer = make()
    if damage == "cut":
        save_weights(path, camoe)
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "foreign":
        save_state(path, camoe, optimizer, TrainState())
    with pytest.raises(WeightsError) as caught:
        load_weights(path, camoe)
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_the_old_state_whole(tmp_path: Path) -> None:
    import resource

    camoe, optimizer = make()
    path = tmp_path / "last.safetensors"
    save_state(path, camoe, optimizer, TrainState(epoch=1))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(WeightsError, match="cannot write"):
            save_state(path, camoe, optimizer, TrainState(epoch=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_file_that_cannot_be_mapped_is_read_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    from vtrcli.model import runs

    tensors = {"a": torch.arange(3.0)}
    save_file(tensors, tmp_path / "x.safetensors", {"about": "it"})

    def refuse(path: Path, framework: str) -> None:
        raise OSError("No such device (os error 19)")

    monkeypatch.setattr(runs, "safe_open", refuse)
    loaded, metadata = runs.load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(loaded["a"], tensors["a"]) and metadata == {"about": "it"}
