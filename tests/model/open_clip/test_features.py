"""Features, pixels and scales are those that open_clip itself gives, for every kind of model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.model.open_clip.folders import CONFIGS, config_of, write_folder
from tests.model.open_clip.tokenizers_of import write_tokenizer
from vtrcli.errors import NotFiniteError
from vtrcli.model.backbone import cpu_has_bfloat16
from vtrcli.model.families import describe_backbone, load_backbone

TEXTS = [
    "a man is riding a horse",
    "A MAN, who rides: a Horse!",
    "",
    "red " * 90,
    "one two three four five six seven eight nine ten eleven twelve thirteen",
]
KINDS = list(CONFIGS)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    ours, theirs = ours.astype(float), theirs.astype(float)
    return (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


@pytest.fixture(scope="module")
def originals(models: dict[str, Path]) -> dict[str, tuple]:
    """Kind -> open_clip's model, transform and tokenizer."""
    import open_clip

    found = {}
    for kind, folder in models.items():
        model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        found[kind] = (model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}"))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_open_clips_own(kind: str, models: dict[str, Path], originals: dict[str, tuple]) -> None:
    model, _, tokenizer = originals[kind]
    backbone = load_backbone(str(models[kind]), device="cpu", precision="float32")
    frames = np.random.default_rng(0).integers(0, 256, (4, *backbone.preprocessing.shape), np.uint8)
    mean, std = (np.array(model.visual.preprocess_cfg[key], np.float32) for key in ("mean", "std"))
    pixels = torch.from_numpy(((frames / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        images, texts = model.encode_image(pixels).numpy(), model.encode_text(tokenizer(TEXTS)).numpy()
    assert cosines(backbone.encode_images(frames), images).min() >= 0.9999
    # Not only its direction: the same numbers.
    np.testing.assert_allclose(backbone.encode_images(frames), images, atol=1e-4 * np.abs(images).max())
    for batch_size in (None, 2):
        found = backbone.encode_texts(TEXTS, batch_size=batch_size)
        assert cosines(found.features, texts).min() >= 0.9999
        np.testing.assert_allclose(found.features, texts, atol=1e-4 * np.abs(texts).max())
        assert found.num_cut == 1
    info = backbone.info
    assert info.dim == images.shape[1] and info.context_length == model.context_length
    assert info.logit_scale == pytest.approx(float(model.logit_scale.exp().detach()), rel=1e-6)
    bias = model.logit_bias
    assert info.logit_bias == (None if bias is None else pytest.approx(float(bias.detach())))


@pytest.mark.parametrize("kind", KINDS)
def test_preprocessing_is_open_clips_own(
    kind: str, models: dict[str, Path], originals: dict[str, tuple]
) -> None:
    import open_clip

    model, transform, _ = originals[kind]
    told = open_clip.get_model_preprocess_cfg(model)
    ours = describe_backbone(str(models[kind])).preprocessing
    size = told["size"]
    assert (ours.height, ours.width) == ((size, size) if isinstance(size, int) else tuple(size))
    assert (ours.mean, ours.std) == (tuple(told["mean"]), tuple(told["std"]))
    assert ours.interpolation == told["interpolation"]
    assert ours.resize == {"shortest": "crop", "squash": "squash"}[told["resize_mode"]]
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (9, 16, 3), np.uint8))
    # Both sides divide: how the longer side is rounded is another question, told in docs/backbones.md.
    picture = small.resize((256, 128), Image.Resampling.BICUBIC)
    pixels = np.asarray(ours.fitted(picture), np.float32) / 255
    theirs = transform(picture).numpy().transpose(1, 2, 0) * np.array(ours.std) + np.array(ours.mean)
    assert np.abs(pixels - theirs).max() < 1.5 / 255


@pytest.mark.parametrize("kind", KINDS)
def test_one_tower_gives_what_both_give(kind: str, models: dict[str, Path]) -> None:
    both, text, image = (
        load_backbone(str(models[kind]), device="cpu", precision="float32", towers=towers)
        for towers in ("both", "text", "image")
    )
    frames = np.random.default_rng(2).integers(0, 256, (3, *both.preprocessing.shape), np.uint8)
    np.testing.assert_array_equal(both.encode_images(frames), image.encode_images(frames))
    np.testing.assert_array_equal(both.encode_texts(TEXTS).features, text.encode_texts(TEXTS).features)


@pytest.mark.parametrize("kind", ["clip", "pe", "siglip"])
def test_a_row_is_the_same_whatever_else_is_encoded(kind: str, models: dict[str, Path]) -> None:
    backbone = load_backbone(str(models[kind]), device="cpu")
    together = backbone.encode_texts(TEXTS, batch_size=4).features
    for index, text in enumerate(TEXTS):
        np.testing.assert_array_equal(
            backbone.encode_texts([text], batch_size=4).features[0], together[index]
        )
    frames = np.random.default_rng(3).integers(0, 256, (4, *backbone.preprocessing.shape), np.uint8)
    turned = backbone.encode_images(frames[::-1].copy())[::-1]
    np.testing.assert_array_equal(backbone.encode_images(frames), turned)


def folder_of(root: Path, kind: str, **told: Any) -> Path:
    """A tiny SigLIP with a tokenizer of transformers."""
    kwargs = {"clean": "canonicalize"} | ({"strip_sep_token": True} if kind == "bert" else {})
    config = config_of("siglip")
    config["model_cfg"]["text_cfg"].update(
        hf_tokenizer_name="timm/x", vocab_size=512, context_length=16, tokenizer_kwargs=kwargs
    )
    folder = write_folder(root / kind, config)
    write_tokenizer(folder, kind, **told)
    return folder


WORDED = ["A Red dog!", "the cat runs", "red dog " * 20, "", "dög"]


@pytest.mark.slow  # imports transformers
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("t5", {}),
        ("gemma", {}),
        ("gemma", {"padding_side": None}),
        ("bert", {}),
        ("bert", {"padding_side": "left"}),
    ],
)
def test_a_tokenizer_is_read_as_transformers_reads_it(
    kind: str, told: dict[str, Any], tmp_path: Path
) -> None:
    import open_clip

    pytest.importorskip("transformers")
    folder = folder_of(tmp_path, kind, **told)
    model, *_ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(WORDED)
    backbone = load_backbone(str(folder), device="cpu", towers="text")
    assert [backbone._texts.row(text)[0] for text in WORDED] == tokens.tolist()  # type: ignore[attr-defined]
    with torch.inference_mode():
        theirs = model.eval().encode_text(tokens).numpy()
    found = backbone.encode_texts(WORDED)
    np.testing.assert_allclose(found.features, theirs, atol=1e-5)
    assert found.num_cut == 1


def test_a_tokenizer_of_transformers_is_read_without_it(tmp_path: Path) -> None:
    """SigLIP's way: an end behind the words, as long as in training; transformers is not imported."""
    before = set(sys.modules)
    backbone = load_backbone(str(folder_of(tmp_path, "t5")), device="cpu", towers="text")
    assert "transformers" not in sys.modules.keys() - before
    (ids, was_cut), (cut, _) = (backbone._texts.row(text) for text in ("A Red dog!", "red " * 20))  # type: ignore[attr-defined]
    assert ids == [4, 5, 6] + [1] * 13 and not was_cut
    assert cut == [5] * 15 + [1]
    assert backbone.cut_text("red dog " * 20, None).split() == ["red", "dog"] * 7 + ["red"]


def test_texts_are_cut_at_whole_words(models: dict[str, Path]) -> None:
    backbone = load_backbone(str(models["pe"]), device="cpu", towers="text")
    found = backbone.encode_texts(["red dog " * 16, "red dog"])
    assert found.num_cut == 1 and backbone.info.context_length == 32
    assert backbone.cut_text("red dog " * 16, None).split() == ["red", "dog"] * 15
    assert backbone.cut_text("red  dog", 4) == "red  dog" and backbone.cut_text("red dog", 3) == "red"
    short = backbone.encode_texts(["red dog"], max_tokens=3)
    assert short.num_cut == 1
    np.testing.assert_allclose(short.features, backbone.encode_texts(["red"]).features, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this CPU does not compute in bfloat16")
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_keeps_the_directions(kind: str, models: dict[str, Path]) -> None:
    half, exact = (
        load_backbone(str(models[kind]), device="cpu", precision=precision, towers="image")
        for precision in ("auto", "float32")
    )
    assert half.precision == "bfloat16"
    frames = np.random.default_rng(4).integers(0, 256, (4, *half.preprocessing.shape), np.uint8)
    assert cosines(half.encode_images(frames), exact.encode_images(frames)).min() >= 0.999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_on_the_gpu_keeps_the_directions(kind: str, models: dict[str, Path]) -> None:
    half = load_backbone(str(models[kind]), device="cuda")
    exact = load_backbone(str(models[kind]), device="cpu", precision="float32")
    assert half.precision == "float16"
    frames = np.random.default_rng(4).integers(0, 256, (4, *half.preprocessing.shape), np.uint8)
    assert cosines(half.encode_images(frames), exact.encode_images(frames)).min() >= 0.999
    assert cosines(half.encode_texts(TEXTS).features, exact.encode_texts(TEXTS).features).min() >= 0.999


def test_half_precision_that_turns_features_away_is_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Measured on the weights themselves, told once, remembered: float16's range ends within this tower."""
    monkeypatch.setattr("vtrcli.model.backbone.fast_precisions", lambda _: ("float16", "float32"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "model", "clip")
    state = load_file(folder / "open_clip_model.safetensors")
    block = "visual.transformer.resblocks.1.mlp"
    state[f"{block}.c_fc.weight"] *= 3e6
    state[f"{block}.c_proj.weight"] /= 3e6
    save_file(state, folder / "open_clip_model.safetensors")
    frames = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    for _ in range(2):
        backbone = load_backbone(str(folder), device="cpu", towers="image")
        assert backbone.precision == "float32" and np.isfinite(backbone.encode_images(frames)).all()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("vtrcli")] == [
        f"{folder} computes in float32: in float16 its features have a cosine of only 0.0000 to those"
    ]
    assert len(list((tmp_path / "cache").rglob("precision/*.json"))) == 1
    with pytest.raises(NotFiniteError):
        load_backbone(str(folder), device="cpu", precision="float16").encode_images(frames)
