"""The table of published models agrees with clip-anytorch's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from vtrcli.model.known_models import KNOWN_MODELS, default_cache_dir, known_model


@pytest.mark.parametrize("model", KNOWN_MODELS, ids=lambda model: model.name)
def test_name_address_and_checksum_are_those_of_clip(model):
    package = importlib.util.find_spec("clip")
    source = (Path(package.submodule_search_locations[0]) / "clip.py").read_text(encoding="utf-8")
    assert f'"{model.name}": "{model.url}"' in source


def test_a_model_is_found_by_its_exact_name():
    assert known_model("ViT-L/14@336px").input_size == 336
    assert known_model("vit-b/32") is None


def test_the_cache_is_clips_own(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "clip"
