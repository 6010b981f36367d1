"""A run that fine-tunes a model in open_clip's layout: evaluated as it was validated, searched with, resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vtrcli as vtr
from tests.model.open_clip.conftest import _open_clip, models  # noqa: F401  (fixtures)
from tests.training.toy_frames import make_toy_frames
from vtrcli.evaluation.inputs import from_store
from vtrcli.extraction.reencode import reencode_frames
from vtrcli.model.families import backbone_info
from vtrcli.model.runs import read_config
from vtrcli.model.train_settings import TrainSettings
from vtrcli.ranking.evaluate import evaluate
from vtrcli.training.record import TrainResult
from vtrcli.training.train import train

SETTINGS = TrainSettings(
    epochs=2, batch_size=6, num_frames=2, captions="all", patience=None, seed=1, finetune=True,
    learning_rate=5e-4, backbone_learning_rate=5e-4,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Path:  # noqa: F811
    return make_toy_frames(tmp_path_factory.mktemp("toy"), num_frames=2, weights=models["siglip"])


def run(toy: Path, out: Path, *, settings: TrainSettings = SETTINGS, **options: Any) -> TrainResult:
    return train(
        store=toy / "store", dataset="csv", annotations=toy, out=out, settings=settings, device="cpu",
        **options,
    )  # fmt: skip


def stop_after(num_steps: int) -> Callable[[], bool]:
    steps = iter(range(1, 10_000))
    return lambda: next(steps) >= num_steps


@pytest.mark.slow
def test_what_a_run_leaves_is_evaluated_as_it_was_validated_and_searched_with(
    toy: Path, tmp_path: Path
) -> None:
    result = run(toy, tmp_path / "run", settings=replace(SETTINGS, epochs=1))
    folder = tmp_path / "run" / "backbone"
    config = read_config(tmp_path / "run")
    assert config.backbone == backbone_info(str(folder)) and config.backbone.name == str(folder.resolve())
    reencode_frames(toy / "store", target=tmp_path / "new", backbone=str(folder), device="cpu")
    inputs = from_store(
        tmp_path / "new", run=tmp_path / "run", dataset="csv", annotations=toy, split="val", device="cpu"
    )
    found = evaluate(inputs.source, inputs.truth, num_bootstrap=0)
    for direction, metrics in (("t2v", found.t2v), ("v2t", found.v2t)):
        assert metrics is not None and metrics.to_json() == result.val[direction]
    hits = vtr.search(
        "a cat is running", tmp_path / "new", run=tmp_path / "run", missing=True, device="cpu"
    ).hits
    assert len(hits) == 10 and all(np.isfinite(hit.score) for hit in hits)


@pytest.mark.slow
@pytest.mark.parametrize("from_scratch", [False, True])
def test_resuming_equals_never_stopping_to_the_bit(toy: Path, tmp_path: Path, from_scratch: bool) -> None:
    settings = replace(SETTINGS, freeze_layers=0 if from_scratch else 1, from_scratch=from_scratch)
    run(toy, tmp_path / "whole", settings=settings)
    assert run(toy, tmp_path / "parts", settings=settings, should_stop=stop_after(3)).was_interrupted
    assert not run(toy, tmp_path / "parts", settings=settings, resume=True).was_interrupted
    for name in ("model.safetensors", "last.safetensors", "backbone/open_clip_model.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name
