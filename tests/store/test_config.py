"""store.json: written once, refused when newer, never mixed with another backbone or sampling."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.store.stores import make_config
from vtrcli.errors import StoreError
from vtrcli.store.config import create_config, read_config, require_same


def test_the_first_of_many_writers_wins_and_all_agree(tmp_path: Path) -> None:
    configs = [make_config(sha256=f"{number:064d}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda config: create_config(tmp_path, config), configs))
    assert all(config == read_config(tmp_path) for config in seen)
    assert seen[0] in configs
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["store.json"]


def test_a_folder_without_a_store_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        read_config(tmp_path)
    assert str(caught.value) == (
        f"no feature store at {tmp_path}; a store is a folder with a store.json; "
        f"make it with `vtr extract FOLDER --store {tmp_path}`"
    )
    assert caught.value.exit_code == 4


def test_a_newer_store_is_refused_with_advice(tmp_path: Path) -> None:
    create_config(tmp_path, make_config())
    path = tmp_path / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 9}))
    with pytest.raises(StoreError) as caught:
        read_config(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} has store format version 9; this vtr reads versions up to 1; update vtr: pip install -U vtrcli"
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": "vtr-store", "version": 1}', '{"format": "other"}']
)
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sampling", "uniform"),
        ("sampling", [["mode", "uniform"]]),
        ("preprocessing", None),
        ("dtype", 16),
        ("version", True),
        ("backbone", []),
        ("backbone", {"name": "a", "sha256": "b", "dim": "4", "input_size": 1, "logit_scale": 1.0}),
        ("backbone", {"name": "a", "sha256": 7, "dim": 4, "input_size": 1, "logit_scale": 1.0}),
    ],
)
def test_a_field_of_another_type_is_refused(tmp_path: Path, key: str, value: object) -> None:
    create_config(tmp_path, make_config())
    path = tmp_path / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(StoreError):
        read_config(tmp_path)


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        read_config(tmp_path)


def test_another_backbone_is_refused_with_the_command_that_works(tmp_path: Path) -> None:
    wanted = make_config(sha256="cd" * 32, name="ViT-B/32")
    with pytest.raises(StoreError) as caught:
        require_same(Path("S"), make_config(name="demo"), wanted)
    assert str(caught.value) == (
        "store S holds features of demo (weights abababababab), not of ViT-B/32 (weights cdcdcdcdcdcd); "
        "a store holds one backbone; use `--store S-other` for ViT-B/32, or `--backbone demo`"
    )


def test_a_backbone_of_the_same_name_is_refused_with_what_differs() -> None:
    tiny = make_config(name="pe")
    said = {
        "resize": "bilinear, both sides to the input size",
        "crop": "none",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    pe = dataclasses.replace(
        tiny,
        backbone=dataclasses.replace(tiny.backbone, input_size=384, context_length=32),
        preprocessing=said,
    )
    cut = {
        "resize": "bicubic, shorter side to the input size",
        "crop": "center",
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.5] * 3,
    }
    backbone = dataclasses.replace(tiny.backbone, sha256="cd" * 32, input_size=224)
    clip = dataclasses.replace(tiny, backbone=backbone, preprocessing=cut)
    with pytest.raises(StoreError) as caught:
        require_same(Path("S"), pe, clip)
    assert str(caught.value) == (
        "store S holds features of pe (weights abababababab), not of pe (weights cdcdcdcdcdcd): squash 384 bilinear "
        "against crop 224 bicubic, mean 0.5 0.5 0.5 against 0.481 0.458 0.408, texts of 32 tokens against 77; "
        "a store holds one backbone; use `--store S-other` for what it is now, or put back what made the store"
    )
    # The same weights by their content, prepared otherwise.
    with pytest.raises(StoreError) as caught:
        require_same(Path("S"), pe, dataclasses.replace(pe, preprocessing={**said, "value_range": [-1, 1]}))
    assert str(caught.value) == (
        "store S was made with other preprocessing: values 0 to 1 against -1 to 1; a store holds one "
        "preprocessing; use `--store S-other`"
    )


def test_another_sampling_is_refused() -> None:
    wanted = dataclasses.replace(make_config(), sampling={"num_frames": 5})
    with pytest.raises(
        StoreError, match=r"store S has sampling .*a store holds one sampling.*use the store's"
    ):
        require_same(Path("S"), make_config(), wanted)
