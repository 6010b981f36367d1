"""Training state on disk: safetensors with JSON in the header, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vtrcli.model.run_folder import damaged_run
from vtrcli.model.trained_run import fill, load_tensors, open_tensors, save_tensors

STATE_FORMAT = "vtr-train-state"


@dataclass
class TrainState:
    """Where a run stands: the next batch is `batch` of `epoch` (from 0). `best` is the best validation score.

    `loss_sum` and `seconds` are of the steps since `reported_step`; patience counts from `waiting_since`.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    waiting_since: int = 0
    reported_step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0


def save_state(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: TrainState
) -> None:
    """Write everything that `load_state` needs to go on bit for bit (on a CPU)."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    body = {**vars(state), "best": None if state.best == float("-inf") else state.best}
    save_tensors(path, tensors, {"format": STATE_FORMAT, "progress": json.dumps(body)})


def load_state(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> TrainState:
    """Restore what `save_state` wrote: weights, optimizer, random state.

    Raises:
        WeightsError: no such file, damaged, or of another model.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != STATE_FORMAT:
        raise damaged_run(path, "it is not a training state")
    fill(path, model, _below(tensors, "model."))
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer.").items():
        number, _, key = name.partition(".")
        states.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    torch.set_rng_state(tensors["random.cpu"].cpu())
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"].cpu())
    return _train_state(path, metadata)


def read_train_state(path: Path) -> TrainState:
    """Where a saved run stands, without its weights.

    Raises:
        WeightsError: no such file, or damaged.
    """
    with open_tensors(path) as file:
        return _train_state(path, file.metadata() or {})


def _train_state(path: Path, metadata: dict[str, str]) -> TrainState:
    try:
        body: dict[str, Any] = json.loads(metadata["progress"])
        best = float("-inf") if body["best"] is None else float(body["best"])
        since = {
            "waiting_since": body["step"],
            "reported_step": body["step"] - body["batch"],
        }  # runs before 0.1.0
        return TrainState(**{**since, **body, "best": best})
    except (KeyError, TypeError, ValueError) as cause:
        raise damaged_run(path, str(cause)) from cause


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
