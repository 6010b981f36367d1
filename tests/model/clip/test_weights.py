"""From a name to converted weights, once."""

from __future__ import annotations

import hashlib
import os

import pytest
import torch
from safetensors.torch import save_file

from tests.model.clip.file_server import serving
from tests.model.clip.test_formats import write_folder
from tests.model.tiny_clip import tiny_state_dict, write_tiny_clip
from vtrcli.errors import WeightsError
from vtrcli.model.clip.converted import read_header
from vtrcli.model.clip.download import KnownModel
from vtrcli.model.clip.model import content_sha256
from vtrcli.model.clip.weights import fetch_known, find_weights
from vtrcli.model.families import backbone_info, load_backbone

_FORMATS = {
    "state dict": lambda path: torch.save(tiny_state_dict(), path),
    "safetensors": lambda path: save_file(tiny_state_dict(), path),
    "converted": write_tiny_clip,
    "folder": write_folder,
}


@pytest.mark.parametrize("form", _FORMATS)
def test_every_format_gives_the_same_identity_and_a_working_backbone(tmp_path, form):
    path = tmp_path / "weights.bin"
    _FORMATS[form](path)
    backbone = load_backbone(str(path), device="cpu", cache_dir=tmp_path / "cache")
    assert backbone.info.sha256 == content_sha256(tiny_state_dict())
    assert backbone.info.name == str(path)
    assert backbone.encode_texts(["a cat"]).features.shape == (1, 32)


def test_a_file_is_converted_once_and_again_when_it_changes(tmp_path):
    path, cache = tmp_path / "clip.pt", tmp_path / "cache"
    torch.save(tiny_state_dict(), path)
    first = find_weights(str(path), cache_dir=cache)
    inode = first.stat().st_ino
    assert find_weights(str(path), cache_dir=cache) == first
    assert first.stat().st_ino == inode
    torch.save(tiny_state_dict(seed=1), path)
    os.utime(path, (1, 1))
    second = find_weights(str(path), cache_dir=cache)
    assert second != first
    assert read_header(second).sha256 == content_sha256(tiny_state_dict(seed=1))


def test_weights_whose_file_has_gone_are_found_by_their_identity(tmp_path):
    path, cache = tmp_path / "clip.pt", tmp_path / "cache"
    torch.save(tiny_state_dict(), path)
    info = backbone_info(str(path), cache_dir=cache)
    path.unlink()
    found = load_backbone(info.name, sha256=info.sha256, device="cpu", cache_dir=cache)
    assert found.info == info
    with pytest.raises(WeightsError, match="there are no weights"):
        load_backbone(info.name, sha256="0" * 64, device="cpu", cache_dir=cache)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(WeightsError) as error:
        find_weights("ViT-B32", cache_dir=tmp_path)
    assert str(error.value) == (
        "there are no weights 'ViT-B32'; a name (ViT-B/32, ViT-B/16, ViT-L/14, ViT-L/14@336px, demo or an "
        "imported one), a file or a folder of weights; check the spelling, or see `vtr models list`"
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


def test_a_published_model_is_downloaded_and_converted_once(tmp_path, published):
    cache = tmp_path / "cache"
    with serving(published.read_bytes()) as server:
        model = _published(published, server.url)
        path = fetch_known(model, cache_dir=cache)
        assert fetch_known(model, cache_dir=cache) == path
        assert len(server.ranges) == 1
    assert path == cache / "ViT-T-16.vtr.safetensors"
    assert (cache / "ViT-T-16.pt").is_file()
    header = read_header(path)
    assert (header.name, header.source) == ("ViT-T/16", "ViT-T-16.pt")


def test_a_file_that_clip_has_downloaded_is_used_without_a_network(tmp_path, published):
    published.rename(tmp_path / "ViT-T-16.pt")
    model = _published(tmp_path / "ViT-T-16.pt")
    assert fetch_known(model, cache_dir=tmp_path).is_file()


def test_a_file_in_the_cache_that_is_not_the_published_one_is_refused(tmp_path, published):
    model = _published(published)
    (tmp_path / "ViT-T-16.pt").write_bytes(b"half")
    with pytest.raises(WeightsError) as error:
        fetch_known(model, cache_dir=tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/ViT-T-16.pt is not the published ViT-T/16 "
        f"(SHA-256 {hashlib.sha256(b'half').hexdigest()}); ViT-T-16.pt has SHA-256 {model.sha256}; "
        "delete it to download it again, or pass other weights by their path"
    )


def test_a_cache_that_cannot_be_made_is_named(tmp_path, published):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError) as error:
        find_weights(str(published), cache_dir=tmp_path / "file")
    assert str(error.value) == (
        f"cannot write into {tmp_path}/file/from-files: Not a directory; weights are kept in a folder that "
        "can be written; make it writable or choose another cache folder"
    )
