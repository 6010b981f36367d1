"""From a name to converted weights, once."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.model.clip.file_server import serving
from tests.model.clip.test_formats import write_folder
from tests.model.tiny_clip import tiny_state_dict, write_tiny_clip
from vtrcli.errors import WeightsError
from vtrcli.model.clip.converted import read_header
from vtrcli.model.clip.download import KnownModel
from vtrcli.model.clip.family import KNOWN_MODELS, cache_folder, fetch_known, find_weights, known_model
from vtrcli.model.clip.model import content_sha256
from vtrcli.model.families import backbone_info, load_backbone

_FORMATS = {
    "state dict": lambda path: torch.save(tiny_state_dict(), path),
    "safetensors": lambda path: save_file(tiny_state_dict(), path),
    "converted": write_tiny_clip,
    "folder": write_folder,
}


@pytest.mark.parametrize("form", _FORMATS)
@pytest.mark.usefixtures("cache")
def test_every_format_gives_the_same_identity_and_a_working_backbone(tmp_path, form):
    path = tmp_path / "weights.bin"
    _FORMATS[form](path)
    backbone = load_backbone(str(path), device="cpu")
    assert backbone.info.sha256 == content_sha256(tiny_state_dict())
    assert backbone.info.name == str(path)
    assert backbone.encode_texts(["a cat"]).features.shape == (1, 32)


@pytest.mark.usefixtures("cache")
def test_a_file_is_converted_once_and_again_when_it_changes(tmp_path):
    path = tmp_path / "clip.pt"
    torch.save(tiny_state_dict(), path)
    first = find_weights(str(path))
    inode = first.stat().st_ino
    assert find_weights(str(path)) == first
    assert first.stat().st_ino == inode
    torch.save(tiny_state_dict(seed=1), path)
    os.utime(path, (1, 1))
    second = find_weights(str(path))
    assert second != first
    assert read_header(second).sha256 == content_sha256(tiny_state_dict(seed=1))


@pytest.mark.usefixtures("cache")
def test_weights_whose_file_has_gone_are_found_by_their_identity(tmp_path):
    path = tmp_path / "clip.pt"
    torch.save(tiny_state_dict(), path)
    info = backbone_info(str(path))
    path.unlink()
    found = load_backbone(info.name, sha256=info.sha256, device="cpu")
    assert found.info == info
    with pytest.raises(WeightsError, match="there are no weights"):
        load_backbone(info.name, sha256="0" * 64, device="cpu")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "to_do"),
    [("ViT-B32", "did you mean ViT-B/32?"), ("mine", "check the spelling, or see the list")],
)
def test_an_unknown_name_lists_what_names_there_are(name, to_do):
    with pytest.raises(WeightsError) as error:
        find_weights(name)
    assert str(error.value) == (
        f"there are no weights '{name}'; a name of `vtr models list` (ViT-B/32, pe-core-b16, demo …), "
        f"hf-hub:ORG/NAME, a file or a folder of weights; {to_do}"
    )


def _published(path, url="http://127.0.0.1:9"):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return KnownModel(
        name="ViT-T/16", file_name="ViT-T-16.pt", sha256=digest, dim=32, input_size=32, base_url=url
    )


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "published.pt"
    torch.save(tiny_state_dict(), path)
    return path


def test_a_published_model_is_downloaded_and_converted_once(cache, published):
    with serving(published.read_bytes()) as server:
        model = _published(published, server.url)
        path = fetch_known(model)
        assert fetch_known(model) == path
        assert len(server.ranges) == 1
    assert path == cache / "ViT-T-16.vtr.safetensors"
    assert (cache / "ViT-T-16.pt").is_file()
    header = read_header(path)
    assert (header.name, header.source) == ("ViT-T/16", "ViT-T-16.pt")


def test_a_file_that_clip_has_downloaded_is_used_without_a_network(cache, published):
    cache.mkdir(parents=True)
    model = _published(published.rename(cache / "ViT-T-16.pt"))
    assert fetch_known(model).is_file()


def test_a_file_in_the_cache_that_is_not_the_published_one_is_refused(cache, published):
    model = _published(published)
    cache.mkdir(parents=True)
    (cache / "ViT-T-16.pt").write_bytes(b"half")
    with pytest.raises(WeightsError) as error:
        fetch_known(model)
    assert str(error.value) == (
        f"{cache}/ViT-T-16.pt is not the published ViT-T/16 "
        f"(SHA-256 {hashlib.sha256(b'half').hexdigest()}); ViT-T-16.pt has SHA-256 {model.sha256}; "
        "delete it to download it again, or pass other weights by their path"
    )


def test_a_cache_that_cannot_be_made_is_named(cache, published):
    cache.parent.mkdir(parents=True)
    cache.touch()
    with pytest.raises(WeightsError) as error:
        find_weights(str(published))
    assert str(error.value) == (
        f"cannot write into {cache}/from-files: Not a directory; weights are kept in a folder that "
        "can be written; make it writable or choose another cache folder"
    )


@pytest.mark.parametrize("model", KNOWN_MODELS, ids=lambda model: model.name)
def test_name_address_and_checksum_are_those_of_clip(model):
    package = importlib.util.find_spec("clip")
    source = (Path(package.submodule_search_locations[0]) / "clip.py").read_text(encoding="utf-8")
    assert f'"{model.name}": "{model.url}"' in source


def test_a_model_is_found_by_its_exact_name():
    assert known_model("ViT-L/14@336px").input_size == 336
    assert known_model("vit-b/32") is None


def test_the_cache_is_clips_own(cache):
    assert cache_folder() == cache


def test_a_store_of_clip_is_described_as_it_was_in_the_first_release(tiny_store, weights):
    body = json.loads((tiny_store.path / "store.json").read_text())
    assert body["backbone"] == {
        "name": weights,
        "sha256": content_sha256(tiny_state_dict()),
        "dim": 32,
        "input_size": 32,
        "logit_scale": pytest.approx(100.0),
    }
    assert body["preprocessing"] == {
        "resize": "bicubic, shorter side to the input size",
        "crop": "center",
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "aspect": "display",
    }
