"""What `vtr models check`, `list` and `bench` say of open_clip's models: compared with open_clip and its own tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runner import run
from tests.model.open_clip.folders import CONFIGS, write_config
from vtrcli.model.bench import bench_models
from vtrcli.model.models import compare_with_original
from vtrcli.model.open_clip.folder import ModelFolder
from vtrcli.model.open_clip.hub import PUBLISHED, PublishedModel
from vtrcli.model.open_clip.model import empty_tower
from vtrcli.model.open_clip.original import published_config, write_random

KINDS = [pytest.param(kind, marks=[] if kind == "pe" else pytest.mark.slow) for kind in CONFIGS]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_passes_the_check_against_open_clip(kind: str, models: dict[str, Path]) -> None:
    found = compare_with_original(str(models[kind]), device="cpu", precision="float32")
    assert found.failures == [] and found.library.startswith("open_clip 3.")
    assert min(found.same_pixels, found.texts) >= 0.99999
    assert found.pixels_worst is not None and found.pixels_worst < 1


@pytest.mark.slow
def test_the_check_of_a_folder_in_words(models: dict[str, Path]) -> None:
    result = run("models", "check", str(models["siglip"]), "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "against      open_clip 3." in result.stdout
    assert "the library's own features, but for rounding" in result.stdout
    body = json.loads(run("models", "check", str(models["siglip"]), "--device", "cpu", "--json").stdout)
    assert body["original"]["failures"] == [] and body["original"]["num_frames"] == 8


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_the_table_is_what_open_clip_itself_says(model: PublishedModel) -> None:
    from open_clip.pretrained import get_pretrained_cfg

    config = published_config(model)
    assert get_pretrained_cfg(model.architecture, model.tag)["hf_hub"].rstrip("/") == model.repo
    assert config["model_cfg"]["embed_dim"] == model.dim
    assert config["model_cfg"]["vision_cfg"]["image_size"] == model.input_size
    assert len(config["preprocess_cfg"]["mean"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_parameters_are_counted_in_open_clip_s_own_towers(model: PublishedModel, tmp_path: Path) -> None:
    write_config(tmp_path, published_config(model))
    counted = sum(
        parameter.numel()
        for tower in ("image", "text")
        for parameter in empty_tower(ModelFolder(tmp_path), tower).parameters()
    )
    assert round(counted / 1e6) == model.parameters


@pytest.mark.slow
def test_random_weights_of_a_published_model_are_measured_in_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child needs the same crutch as this process, see conftest.py."""
    crutch = "import sys, types\nname = 'torchvision._meta_registrations'\nsys.modules[name] = types.ModuleType(name)\n"
    (tmp_path / "sitecustomize.py").write_text(crutch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    speeds, missing = bench_models(
        ["mobileclip2-s0"], device="cpu", precision="float32", batch_size=1, seconds=0.0
    )
    assert missing == [] and speeds[0].is_random and speeds[0].frames_per_second > 0
    assert round(speeds[0].parameters / 1e6) == 75


@pytest.mark.slow
def test_random_weights_are_a_folder_that_open_clip_reads_too(tmp_path: Path) -> None:
    model = next(model for model in PUBLISHED if model.name == "mobileclip2-s0")
    folder = write_random(model, tmp_path / "random")
    found = compare_with_original(str(folder), device="cpu", precision="float32")
    assert found.failures == []
