"""Identity of a folder, bad folders, and the way from a folder to a search; test_pitfalls.py has what goes wrong."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import vtrcli as vtr
from tests.model.open_clip.folders import config_of, write_config
from tests.model.open_clip.tokenizers_of import write_tokenizer
from tests.model.tiny_clip import write_tiny_clip
from tests.video_files import make_video
from vtrcli.errors import StoreError, UsageError, WeightsError
from vtrcli.extraction.reencode import reencode_frames
from vtrcli.model.clip.family import ClipFamily
from vtrcli.model.families import describe_backbone, family_of, load_backbone
from vtrcli.model.models import check_weights, import_weights, list_models
from vtrcli.model.open_clip import model as towers_module
from vtrcli.model.open_clip.family import OpenClipFamily
from vtrcli.model.open_clip.hub import PUBLISHED
from vtrcli.searching.query import Query
from vtrcli.store.config import BackboneInfo, read_config
from vtrcli.store.reader import FeatureStore
from vtrcli.text.cache import cache_captions

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def copied(models: dict[str, Path], tmp_path: Path) -> Any:
    """A copy of a folder that may be changed: `copied(kind)`."""
    return lambda kind: Path(shutil.copytree(models[kind], tmp_path / "copy" / kind))


def sha256(folder: Path) -> str:
    return describe_backbone(str(folder)).info.sha256


# --- identity -----------------------------------------------------------------------------------------------


def test_a_file_of_weights_is_read_with_the_config_beside_it(models: dict[str, Path]) -> None:
    """Not as OpenAI's CLIP, whose tensors have the same names."""
    by_file = describe_backbone(str(models["clip"] / WEIGHTS))
    assert by_file == describe_backbone(str(models["clip"]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [0.0] * 3),
        ("std", [1.0] * 3),
        ("interpolation", "bicubic"),
        ("resize_mode", "shortest"),
    ],
)
def test_other_preprocessing_is_another_identity(key: str, value: Any, copied: Any) -> None:
    folder, config = copied("pe"), config_of("pe")
    before = sha256(folder)
    config["preprocess_cfg"][key] = value
    write_config(folder, config)
    assert sha256(folder) != before


def test_text_length_and_tokenizer_are_part_of_the_identity(copied: Any) -> None:
    folder, config = copied("siglip"), config_of("siglip")
    before = sha256(folder)
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": "lower"}
    write_config(folder, config)
    other = sha256(folder)
    config["model_cfg"]["text_cfg"]["context_length"] = 32
    write_config(folder, config)
    assert len({before, other, sha256(folder)}) == 3


def test_only_the_tensors_of_the_wanted_tower_are_read(models: dict[str, Path], copied: Any) -> None:
    folder = copied("pe")
    described = describe_backbone(str(folder))
    state = load_file(folder / WEIGHTS)
    save_file({key: value for key, value in state.items() if not key.startswith("visual.")}, folder / WEIGHTS)
    text = load_backbone(str(folder), device="cpu", towers="text")
    assert text.encode_texts(["red"]).features.shape == (1, described.info.dim)
    with pytest.raises(UsageError, match="only the text tower"):
        text.encode_images(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(WeightsError, match="holds no image tower of this architecture"):
        load_backbone(str(folder), device="cpu")
    save_file({key: value for key, value in state.items() if not key.startswith("text.")}, folder / WEIGHTS)
    with pytest.raises(WeightsError, match=f"{WEIGHTS} holds no text tower; "):
        load_backbone(str(folder), device="cpu", towers="image")


def test_words_are_looked_up_in_the_format_of_the_file(models: dict[str, Path], copied: Any) -> None:
    """Of 256,000 words a query needs a few: they are neither read nor cast, in any format."""
    folder = copied("siglip")
    state = {key: value.half() for key, value in load_file(folder / WEIGHTS).items()}
    save_file(state, folder / WEIGHTS)
    half = load_backbone(str(folder), device="cpu", precision="float32", towers="text")
    assert half._text.token_embedding.weight.dtype == torch.float16  # type: ignore[attr-defined]
    save_file({key: value.float() for key, value in state.items()}, folder / WEIGHTS)
    whole = load_backbone(str(folder), device="cpu", precision="float32", towers="text")
    texts = ["a red dog", "a cat"]
    np.testing.assert_array_equal(half.encode_texts(texts).features, whole.encode_texts(texts).features)


def test_what_is_remembered_of_a_folder_is_of_its_files_of_now(
    copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = copied("clip")
    before = sha256(folder)
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1
    state = load_file(folder / WEIGHTS)
    state["visual.proj"] = state["visual.proj"] + 1
    save_file(state, folder / WEIGHTS)  # of the same size
    changed = sha256(folder)
    assert changed != before
    # Where nothing can be kept, it is read again.
    (tmp_path / "full").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "full"))
    assert sha256(folder) == changed


# --- bad input ----------------------------------------------------------------------------------------------


def test_a_folder_of_another_library_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "siglip"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    save_file({"logit_scale": torch.ones(1)}, folder / "model.safetensors")
    assert isinstance(family_of(str(folder)), ClipFamily)
    layouts = (
        "a Hugging Face CLIP folder holds config.json (model_type clip) and model.safetensors, one of open_clip's "
        "an open_clip_config.json; "
    )
    elsewhere = "take the model in open_clip's layout: `vtr models list` names some, SigLIP's among them"
    with pytest.raises(WeightsError) as caught:
        load_backbone(str(folder), device="cpu")
    assert str(caught.value) == (
        f"{folder} cannot be used as weights: its model_type is 'siglip'; {layouts}{elsewhere}"
    )
    sentences = tmp_path / "sentences"
    sentences.mkdir()
    (sentences / "modules.json").write_text("[]")
    for inner, to_do in ((False, elsewhere), (True, f"pass its CLIP folder, {sentences / '0_CLIPModel'}")):
        if inner:
            (sentences / "0_CLIPModel").mkdir()
            (sentences / "0_CLIPModel" / "config.json").write_text("{}")
        with pytest.raises(WeightsError) as caught:
            load_backbone(str(sentences), device="cpu")
        why = "it is in the layout of sentence-transformers"
        assert str(caught.value) == f"{sentences} cannot be used as weights: {why}; {layouts}{to_do}"
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").touch()
    with pytest.raises(WeightsError, match="it has no model.safetensors, and pytorch_model.bin is pickled; "):
        load_backbone(str(pickled), device="cpu")


def test_half_a_folder_is_refused(copied: Any) -> None:
    folder = copied("pe")
    config = (folder / "open_clip_config.json").read_text()
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(WeightsError, match="it has no open_clip_config.json"):
        describe_backbone(str(folder))
    for damaged in ("", "[]", "{}", '{"model_cfg": {"embed_dim": 4}}', "[" * 100_000):
        (folder / "open_clip_config.json").write_text(damaged)
        with pytest.raises(WeightsError, match="is damaged, or lacks"):
            describe_backbone(str(folder))
    (folder / "open_clip_config.json").write_text(config)
    (folder / WEIGHTS).rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(
        WeightsError, match=r"pickled \(open_clip_pytorch_model.bin\), and loading them could"
    ):
        describe_backbone(str(folder))
    (folder / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match="it has no weights"):
        describe_backbone(str(folder))
    (folder / WEIGHTS).write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(WeightsError, match=f"{WEIGHTS} is damaged"):
        describe_backbone(str(folder))


def test_weights_of_another_architecture_are_refused(models: dict[str, Path], copied: Any) -> None:
    folder = copied("pe")
    shutil.copy(models["siglip"] / WEIGHTS, folder / WEIGHTS)
    with pytest.raises(WeightsError, match="is of another architecture: its image tower has"):
        load_backbone(str(folder), device="cpu")
    write_tiny_clip(folder / WEIGHTS)
    with pytest.raises(WeightsError, match="of (another|this) architecture"):
        load_backbone(str(folder), device="cpu")


def test_weights_that_are_not_finite_are_refused(copied: Any) -> None:
    folder = copied("clip")
    state = load_file(folder / WEIGHTS)
    state["visual.proj"][0, 0] = float("nan")
    save_file(state, folder / WEIGHTS)
    with pytest.raises(WeightsError, match="'visual.proj' that are NaN"):
        describe_backbone(str(folder))


def test_features_that_overflow_in_half_precision_are_refused(copied: Any) -> None:
    folder = copied("clip")
    state = load_file(folder / WEIGHTS)
    state["visual.proj"] *= 1e7
    save_file(state, folder / WEIGHTS)
    frames = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    assert np.isfinite(load_backbone(str(folder), device="cpu").encode_images(frames)).all()
    half = load_backbone(str(folder), device="cpu", precision="float16")
    with pytest.raises(WeightsError, match="NaN or infinite in float16; .*use --precision float32"):
        half.encode_images(frames)


@pytest.mark.parametrize(
    ("part", "key", "value", "why"),
    [
        ("text_cfg", "hf_model_name", "xlm-roberta-base", "text tower is transformers' xlm-roberta-base"),
        ("text_cfg", "tokenizer_kwargs", {"reduction_mask": "syntax"}, "drops words at random"),
        ("text_cfg", "hf_tokenizer_name", "timm/x", "it has no tokenizer.json"),
        ("vision_cfg", "timm_model_name", "hf-hub:timm/x", "is no model of timm's own"),
        (None, "multimodal_cfg", {}, "it is a CoCa"),
    ],
)
def test_what_cannot_be_built_off_line_is_refused(
    part: str | None, key: str, value: Any, why: str, copied: Any
) -> None:
    folder, config = copied("pe"), config_of("pe")
    (config["model_cfg"][part] if part else config["model_cfg"])[key] = value
    write_config(folder, config)
    with pytest.raises(WeightsError, match=why):
        load_backbone(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resize_mode", "longest"),
        ("interpolation", "lanczos"),
        ("mean", [0.5]),
        ("std", [0.5, 0, 0.5]),
        ("mean", "grey"),
        ("mode", "L"),
    ],
)
def test_preprocessing_that_is_not_known_is_refused(key: str, value: Any, copied: Any) -> None:
    folder, config = copied("pe"), config_of("pe")
    config["preprocess_cfg"][key] = value
    write_config(folder, config)
    with pytest.raises(WeightsError, match="its preprocessing is not known here"):
        describe_backbone(str(folder))


def test_a_tokenizer_of_transformers_says_what_it_lacks(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config = copied("siglip"), config_of("siglip")
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "timm/x"
    write_config(folder, config)
    write_tokenizer(folder, "t5", pad_token=None)
    with pytest.raises(WeightsError, match="its tokenizer cannot be loaded .its files tell no pad_token"):
        load_backbone(str(folder), device="cpu", towers="text")
    (folder / "tokenizer_config.json").write_text("[")
    with pytest.raises(WeightsError, match="tokenizer_config.json is damaged"):
        load_backbone(str(folder), device="cpu", towers="text")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(WeightsError, match="its tokenizer cannot be loaded"):
        load_backbone(str(folder), device="cpu", towers="text")
    find = towers_module.importlib.util.find_spec
    monkeypatch.setattr(
        towers_module.importlib.util, "find_spec", lambda name: None if name == "tokenizers" else find(name)
    )
    with pytest.raises(WeightsError, match=r"needs the package tokenizers, .*'vtrcli\[open_clip\]'$"):
        load_backbone(str(folder), device="cpu", towers="text")


def test_a_tokenizer_that_does_not_fit_is_refused(copied: Any) -> None:
    folder, config = copied("pe"), config_of("pe")
    config["model_cfg"]["text_cfg"]["vocab_size"] = 1000
    write_config(folder, config)
    state = load_file(folder / WEIGHTS)
    state["text.token_embedding.weight"] = state["text.token_embedding.weight"][:1000].clone()
    save_file(state, folder / WEIGHTS)
    for towers in ("both", "text", "image"):  # before anything is extracted that no text could search
        with pytest.raises(WeightsError, match="its tokenizer does not fit"):
            load_backbone(str(folder), device="cpu", towers=towers)  # type: ignore[arg-type]


def test_without_the_extra_one_line_says_what_to_install(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(towers_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"run: python -m pip install 'vtrcli\[open_clip\]'$"):
        load_backbone(str(models["pe"]), device="cpu")


def test_a_torchvision_that_does_not_fit_is_named(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = __import__

    def broken(name: str, *rest: Any) -> Any:
        if name == "open_clip":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *rest)

    monkeypatch.setattr("builtins.__import__", broken)
    monkeypatch.setattr(towers_module.torch, "__version__", "2.13.0+cpu")
    with pytest.raises(WeightsError) as caught:
        load_backbone(str(models["pe"]), device="cpu")
    assert "'torchvision==0.28.*' --index-url https://download.pytorch.org/whl/cpu" in caught.value.to_do
    assert "\n" not in str(caught.value)


def test_no_network_is_told_in_three_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("[Errno 101] Network is unreachable")

    monkeypatch.setattr("huggingface_hub.snapshot_download", down)
    for name in ("pe-core-b16", "hf-hub:timm/PE-Core-B-16"):
        with pytest.raises(WeightsError) as caught:
            load_backbone(name, device="cpu")
        assert caught.value.came_in == f"cannot download {name} ([Errno 101] Network is unreachable)"
        assert "https://huggingface.co/timm/PE-Core-B-16" in caught.value.allowed
        assert "--backbone FOLDER" in caught.value.to_do


def test_what_the_hub_s_cache_holds_is_used_as_a_folder(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "models--timm--PE-Core-S-16-384"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    shutil.copytree(models["pe"], repo / "snapshots" / "abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    info = load_backbone("pe-core-s16-384", device="cpu").info
    assert info.name == "pe-core-s16-384" and info.sha256 == sha256(models["pe"])
    entries = {entry.name: entry for entry in list_models()}
    assert entries["pe-core-s16-384"].state == "ready" and entries["pe-core-b16"].state == "absent"


# --- the rest of the family ---------------------------------------------------------------------------------


def test_the_table_shows_what_one_needs_to_choose() -> None:
    entries = {entry.name: entry for entry in list_models()}
    assert {model.name for model in PUBLISHED} < entries.keys()
    chosen = entries["pe-core-b16"]
    assert (chosen.parameters, chosen.dim, chosen.input_size) == (448, 1024, 224)
    assert (chosen.languages, chosen.licence, chosen.published_r1) == ("English", "Apache-2.0", 47.6)
    assert all((entry.published_r1 is None) == (entry.source is None) for entry in entries.values())


def test_names_folders_and_what_they_cannot_do(models: dict[str, Path], tmp_path: Path) -> None:
    folder = str(models["pe"])
    family = family_of(folder)
    assert isinstance(family, OpenClipFamily) and not family.publishes(folder)
    assert family_of("hf-hub:timm/x").publishes("hf-hub:timm/x")
    assert isinstance(family_of("ViT-B/32"), ClipFamily) and isinstance(family_of(str(tmp_path)), ClipFamily)
    with pytest.raises(UsageError, match="pass the folder itself"):
        import_weights(models["pe"])
    with pytest.raises(UsageError, match="is a folder"):
        family.pull(folder)
    assert describe_backbone(folder).info.name == folder


def test_describing_and_checking(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied("clip")
    info = check_weights(str(folder))
    state = load_file(folder / WEIGHTS)
    save_file(
        {key: value.clone() for key, value in state.items()},
        folder / WEIGHTS,
        metadata={"of": "another file"},
    )
    assert sha256(folder) == info.sha256  # the content counts, not the file
    family = family_of(str(folder))
    monkeypatch.setattr(family, "describe", lambda _, **__: describe_backbone("demo"), raising=True)
    with pytest.raises(WeightsError, match="has changed since it was first read"):
        family.check(str(folder))


def test_describing_needs_neither_torch_nor_open_clip(models: dict[str, Path]) -> None:
    code = (
        "import sys; from vtrcli.model.families import describe_backbone; "
        f"describe_backbone({str(models['pe'])!r}); "
        "print([name for name in ('torch', 'open_clip', 'timm', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_query_needs_neither_torchvision_nor_timm(models: dict[str, Path]) -> None:
    """Their import takes longer than torch's, and this process has no crutch that makes torchvision work."""
    code = (
        "import sys; from vtrcli.model.families import load_backbone; "
        f"tower = load_backbone({str(models['siglip'])!r}, device='cpu', towers='text'); "
        "assert tower.encode_texts(['red']).features.any(); "
        "print([name for name in ('open_clip', 'timm', 'torchvision') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_from_videos_to_a_search(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        make_video(tmp_path / "videos" / f"{name}.mp4", seconds=0.5)
    (tmp_path / "captions.csv").write_text("video_id,caption,split\na,a red dog,test\nb,a blue cat,test\n")
    folder = models["siglip"]
    vtr.extract(tmp_path / "videos", tmp_path / "store", backbone=str(folder), frames=2, device="cpu")
    config = read_config(tmp_path / "store")
    assert config.backbone == describe_backbone(str(folder)).info
    assert config.preprocessing["resize"] == "bicubic, both sides to the input size"
    assert FeatureStore(tmp_path / "store").features("a").shape == (2, 64)
    scores = vtr.evaluate(
        store=tmp_path / "store", dataset="csv", annotations=tmp_path, num_bootstrap=0, device="cpu"
    )
    assert scores.to_json()["logit_scale"] == pytest.approx(np.exp(4.7), rel=1e-6)
    found = vtr.search("a red dog", tmp_path / "store", device="cpu")
    assert {hit.video_id for hit in found.hits} <= {"a", "b"}


@pytest.mark.slow
def test_a_store_is_refused_at_every_door_when_its_folder_has_other_preprocessing_now(
    copied: Any, tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    rows = ["video_id,caption,split"]
    for name, split in zip("abcdefgh", ["train"] * 4 + ["val"] * 2 + ["test"] * 2, strict=True):
        make_video(tmp_path / "videos" / f"{name}.mp4", seconds=0.3)
        rows.append(f"{name},a red dog {name},{split}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    folder, config, store = copied("siglip"), config_of("siglip"), tmp_path / "store"
    extract: dict[str, Any] = {"backbone": str(folder), "frames": 2, "device": "cpu"}
    vtr.extract(tmp_path / "videos", store, keep_frames=True, **extract)
    config["preprocess_cfg"] |= {"interpolation": "bilinear", "resize_mode": "shortest"}
    write_config(folder, config)
    image = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(image)
    common: dict[str, Any] = {"dataset": "csv", "annotations": tmp_path, "device": "cpu"}
    doors: list[Callable[[], Any]] = [
        lambda: vtr.extract(tmp_path / "videos", store, **extract),
        lambda: cache_captions(store, **common),
        lambda: vtr.search("a red dog", store, device="cpu"),
        lambda: vtr.search(Query(images=(image,)), store, device="cpu"),
        lambda: vtr.evaluate(store=store, **common),
        lambda: vtr.train(store, out=tmp_path / "run", epochs=1, **common),
    ]
    differs = r": squash \d+ bicubic against crop \d+ bilinear; "
    for door in doors:
        with pytest.raises(StoreError, match=differs):
            door()
    # As does the store's new backbone into a store of the old one, from its own kept frames.
    with pytest.raises(StoreError, match=differs):
        reencode_frames(store, target=store, backbone=str(folder), device="cpu")


def test_languages_are_told_by_the_vocabulary(models: dict[str, Path], copied: Any) -> None:
    assert describe_backbone(str(models["pe"])).info.languages == "English"
    folder, config = copied("siglip"), config_of("siglip")
    config["model_cfg"]["text_cfg"]["vocab_size"] = 256_000
    write_config(folder, config)
    info = describe_backbone(str(folder)).info
    assert info.languages == "many" and BackboneInfo.from_json(info.to_json()) == info
    assert {model.name for model in PUBLISHED if model.languages == "many"} == {
        "siglip2-b16",
        "siglip2-so400m",
    }
