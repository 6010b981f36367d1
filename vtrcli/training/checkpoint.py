"""Weights and training state on disk: safetensors with JSON in the header, whole or not at all."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file

from vtrcli.errors import WeightsError
from vtrcli.files import replacing
from vtrcli.training.run_folder import damaged_run

STATE_FORMAT = "vtr-train-state"
WEIGHTS_FORMAT = "vtr-camoe"


@dataclass
class Progress:
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


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """Write a model's weights. Raises WeightsError when they cannot be written."""
    _save(path, dict(model.state_dict()), {"format": WEIGHTS_FORMAT})


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Fill a model in place.

    Raises:
        WeightsError: no such file, damaged, or of another model.
    """
    tensors, metadata = _load(path)
    if metadata.get("format") != WEIGHTS_FORMAT:
        raise damaged_run(path, "it does not hold CAMoE weights")
    _fill(path, model, tensors)


def save_state(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write everything that `load_state` needs to go on bit for bit (on a CPU)."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    body = {**vars(progress), "best": None if progress.best == float("-inf") else progress.best}
    _save(path, tensors, {"format": STATE_FORMAT, "progress": json.dumps(body)})


def load_state(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore what `save_state` wrote: weights, optimizer, random state.

    Raises:
        WeightsError: no such file, damaged, or of another model.
    """
    tensors, metadata = _load(path)
    if metadata.get("format") != STATE_FORMAT:
        raise damaged_run(path, "it is not a training state")
    _fill(path, model, _below(tensors, "model."))
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer.").items():
        number, _, key = name.partition(".")
        states.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    torch.set_rng_state(tensors["random.cpu"].cpu())
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"].cpu())
    return _progress(path, metadata)


def read_progress(path: Path) -> Progress:
    """Where a saved run stands, without its weights.

    Raises:
        WeightsError: no such file, or damaged.
    """
    with _opened(path) as file:
        return _progress(path, file.metadata() or {})


def _progress(path: Path, metadata: dict[str, str]) -> Progress:
    try:
        body: dict[str, Any] = json.loads(metadata["progress"])
        best = float("-inf") if body["best"] is None else float(body["best"])
        since = {
            "waiting_since": body["step"],
            "reported_step": body["step"] - body["batch"],
        }  # runs before 0.1.0
        return Progress(**{**since, **body, "best": best})
    except (KeyError, TypeError, ValueError) as cause:
        raise damaged_run(path, str(cause)) from cause


def _save(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path, error=WeightsError) as temporary:
        try:
            save_file(whole, temporary, metadata=metadata)
        except SafetensorError as cause:  # safetensors wraps the operating system's error
            raise OSError(0, str(cause)) from cause


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextmanager
def _mapped_or_whole(path: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except OSError as cause:
            if f"(os error {errno.ENODEV})" not in str(cause):
                raise
            file = _Whole(path)
        yield file


class _Whole:
    """A safetensors file read into memory: some shared folders and network mounts map none."""

    def __init__(self, path: Path) -> None:
        body = path.read_bytes()
        self._tensors = load(body)
        self._header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])

    def keys(self) -> list[str]:
        return list(self._tensors)

    def get_tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]

    def metadata(self) -> dict[str, str] | None:
        found: dict[str, str] | None = self._header.get("__metadata__")
        return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with _mapped_or_whole(path) as file:
            yield file
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is not there",
            allowed="a run that saved at least once",
            to_do="check --run and --resume, or train again",
        ) from None
    except (OSError, SafetensorError) as cause:
        raise damaged_run(path, str(cause)) from cause


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _fill(path: Path, model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as cause:
        raise WeightsError(
            f"{path} holds weights of another model ({str(cause).splitlines()[0]})",
            allowed="weights of the shape that the run's config.json describes",
            to_do="use the run's own files",
        ) from cause
