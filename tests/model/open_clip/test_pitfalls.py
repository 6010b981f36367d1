"""The ways in which a model of open_clip's gives other features and says nothing: a table, a check for each.

Every check is run twice: as it is, and with its guard taken out, when it must fail.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model.open_clip.folders import CLIP_MEAN, CLIP_STD, config_of, write_config, write_folder
from vtrcli.errors import WeightsError
from vtrcli.model.backbone import scaled_pixels
from vtrcli.model.families import describe_backbone, load_backbone
from vtrcli.model.open_clip import model as towers
from vtrcli.model.open_clip.folder import ModelFolder
from vtrcli.model.open_clip.tokens import TextReader
from vtrcli.preprocessing import Preprocessing

Folders = Callable[[str], Path]


class Pitfall(NamedTuple):
    """`what` goes wrong, `guard`: what stands against it here; `check(folders)`, `without(monkeypatch)`."""

    what: str
    guard: str
    check: Callable[[Folders], None]
    without: Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def folders(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """The folder of a kind, a copy of its own; nothing is remembered of an earlier one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def found(kind: str) -> Path:
        folder = tmp_path / kind
        return Path(shutil.copytree(models[kind], folder)) if kind in models else write_folder(folder, kind)

    return found


def theirs(folder: Path) -> tuple[Any, Any, Any]:
    """open_clip's model, transform and tokenizer."""
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


def same_images(folder: Path) -> None:
    """Pixels of the model's own size give open_clip's features; its transform changes them in value alone."""
    model, transform, _ = theirs(folder)
    ours = load_backbone(str(folder), device="cpu", precision="float32", towers="image")
    frame = np.random.default_rng(0).integers(0, 256, ours.preprocessing.shape, np.uint8)
    with torch.inference_mode():
        expected = model.encode_image(transform(Image.fromarray(frame))[None]).numpy()
    found = ours.encode_images(frame[None])
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def same_pixels(folder: Path) -> None:
    """A wide picture becomes open_clip's pixels."""
    _, transform, _ = theirs(folder)
    ours = describe_backbone(str(folder)).preprocessing
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 16, 3), np.uint8))
    picture = small.resize((256, 128), Image.Resampling.BICUBIC)
    expected = transform(picture).numpy().transpose(1, 2, 0) * np.array(ours.std) + np.array(ours.mean)
    assert np.abs(np.asarray(ours.fitted(picture), np.float32) / 255 - expected).max() < 1.5 / 255


def same_texts(folder: Path, *texts: str) -> None:
    """Texts give open_clip's features."""
    model, _, tokenizer = theirs(folder)
    with torch.inference_mode():
        expected = model.encode_text(tokenizer(list(texts))).numpy()
    ours = load_backbone(str(folder), device="cpu", precision="float32", towers="text")
    found = ours.encode_texts(list(texts)).features
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def preprocessing_is_told(folders: Folders) -> None:
    folder = folders("siglip")
    for missing in ("mean", "std", None):
        config = config_of("siglip")
        config["preprocess_cfg"].pop(missing) if missing else config.pop("preprocess_cfg")
        write_config(folder, config)
        try:
            load_backbone(str(folder), device="cpu")
        except WeightsError as error:
            assert f"preprocess_cfg tells no '{missing or 'mean'}'" in str(error)
        else:
            raise AssertionError(f"without {missing or 'preprocess_cfg'} it was loaded")


def long_texts_are_cut(folders: Folders) -> None:
    folder = folders("pe")
    found = load_backbone(str(folder), device="cpu", towers="text").encode_texts(["red dog " * 20, "red"])
    assert found.was_cut.tolist() == [True, False]
    same_texts(folder, "red dog " * 20)


def scale_and_bias_are_known(folders: Folders) -> None:
    info = describe_backbone(str(folders("siglip"))).info
    assert info.logit_scale == pytest.approx(np.exp(4.7), rel=1e-6) and info.logit_bias == -10
    # A good pair has a small cosine there: of 0.12 it is as likely as not, which at 100 and no bias were certain.
    assert info.probability(10 / info.logit_scale) == pytest.approx(0.5)
    assert describe_backbone(str(folders("clip"))).info.logit_bias is None


def texts_are_read_as_they_are(folders: Folders) -> None:
    for kind in ("clip", "siglip"):
        same_texts(folders(kind), "dog", "a photo of a dog")


def branches_are_merged(folders: Folders) -> None:
    folder = folders("mobileclip-s0")
    ours = load_backbone(str(folder), device="cpu", precision="float32", towers="image")
    merged, branches = (
        sum(isinstance(part, torch.nn.BatchNorm2d) for part in tower.modules())
        for tower in (ours._image, theirs(folder)[0].visual)  # type: ignore[attr-defined]
    )
    assert merged < branches / 4
    same_images(folder)


def patched(name: str, change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """A property of a folder tells something else."""
    told = getattr(ModelFolder, name)
    get = told.fget if isinstance(told, property) else told.func
    return lambda patch: patch.setattr(ModelFolder, name, property(lambda folder: change(get(folder))))


def clips_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What open_clip does where a folder tells nothing."""
    own = Preprocessing(height=64, width=64, mean=tuple(CLIP_MEAN), std=tuple(CLIP_STD))
    monkeypatch.setattr(ModelFolder, "preprocessing", property(lambda _: own))


def openais_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(pixels: torch.Tensor, told: Preprocessing) -> torch.Tensor:
        return scaled_pixels(pixels, replace(told, mean=tuple(CLIP_MEAN), std=tuple(CLIP_STD)))

    monkeypatch.setattr(towers, "scaled_pixels", scaled)


def no_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ModelFolder.identity
    monkeypatch.setattr(
        ModelFolder, "identity", lambda self: identity(self) | {"logit_scale": 100.0, "logit_bias": None}
    )


def a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    row = TextReader.row
    monkeypatch.setattr(
        TextReader,
        "row",
        lambda self, text, limit=None: row(self, f"This is a photo of {text}.", limit),
    )


def no_merging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.utils.model.reparameterize_model", lambda trunk, inplace: trunk)


def without_key(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda told: {key: value for key, value in told.items() if key != name}


def another_pooling(told: dict[str, Any]) -> dict[str, Any]:
    return told | {"text_cfg": without_key("pool_type")(told["text_cfg"])}


PITFALLS = {
    # open_clip #1068: "SigLIP 2 offline fails silently"
    "weights without their preprocessing": Pitfall(
        "a file of weights gets the default mean and crop, offline, and says nothing",
        "ModelFolder.preprocessing: what is not told is refused",
        preprocessing_is_told,
        clips_own,
    ),
    # OpenAI's constants on SigLIP gave cosines near zero
    "mean and std": Pitfall(
        "OpenAI's .48 / .27, SigLIP's and PE's .5 / .5, MobileCLIP's 0 / 1",
        "they come from the folder and go into every batch",
        lambda folders: same_images(folders("siglip")),
        openais_constants,
    ),
    "crop or squash": Pitfall(
        "a crop takes 44 % of a 16:9 picture away from a model that saw all of it",
        "resize_mode decides",
        lambda folders: same_pixels(folders("siglip")),
        patched("preprocessing", lambda told: replace(told, resize="crop")),
    ),
    "interpolation": Pitfall(
        "CLIP and SigLIP are bicubic, PE and MobileCLIP bilinear",
        "interpolation decides",
        lambda folders: same_pixels(folders("pe")),
        patched("preprocessing", lambda told: replace(told, interpolation="bicubic")),
    ),
    # mteb #1424: MNIST went from about 10 to above 80 when it was mended
    "padding of texts": Pitfall(
        "a sigmoid model's attention sees the padding: a batch cut to its longest text gives other features",
        "ModelFolder.is_causal: cut only where attention looks back and the end is read",
        lambda folders: same_texts(folders("siglip"), "red dog"),
        patched("is_causal", lambda _: True),
    ),
    # big_vision #187: "When I lowercase the title, it's much better"
    "lower case": Pitfall(
        "SigLIP was trained on lower-cased texts without punctuation",
        "tokenizer_kwargs reach the tokenizer",
        lambda folders: same_texts(folders("siglip"), "A Red_DOG!"),
        patched("text", without_key("tokenizer_kwargs")),
    ),
    # "a longer sequence raises a shape mismatch"
    "length of texts": Pitfall(
        "PE reads 32 tokens, SigLIP 64, CLIP 77: longer texts raise, or are cut in silence",
        "ModelFolder.context_length: cut with their end, and counted",
        long_texts_are_cut,
        patched("context_length", lambda _: 77),
    ),
    # facet #145: cosines of 0.07 for the right word, 0.02 for a wrong one
    "scale and bias of a sigmoid model": Pitfall(
        "good pairs have small cosines: thresholds and temperatures made for 100 x cosine fail",
        "both are read from the weights and recorded in the store",
        scale_and_bias_are_known,
        no_scale,
    ),
    "activation": Pitfall(
        "OpenAI's weights need QuickGELU; open_clip only warns",
        "quick_gelu decides in both towers",
        lambda folders: same_images(folders("quickgelu")),
        patched("architecture", without_key("quick_gelu")),
    ),
    # VLM2Vec #213: 58.5 became 67.6
    "pooling": Pitfall(
        "the last position or the end token, before or after the last norm",
        "pool_type decides",
        lambda folders: same_texts(folders("siglip"), "red dog"),
        patched("architecture", another_pooling),
    ),
    # "This is a photo of {label}." belongs to classification
    "templates": Pitfall(
        "a sentence around a query moves its feature",
        "nothing is added to a text",
        texts_are_read_as_they_are,
        a_template,
    ),
    "training branches": Pitfall(
        "MobileCLIP's stated speed is that of its re-parameterised tower",
        "they are merged when the tower is read",
        branches_are_merged,
        no_merging,
    ),
}
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name == "training branches" else name for name in PITFALLS
]


@pytest.mark.parametrize("name", NAMES)
def test_nobody_falls_into_it(name: str, folders: Folders) -> None:
    PITFALLS[name].check(folders)


@pytest.mark.slow
@pytest.mark.parametrize("name", PITFALLS)
def test_the_check_fails_when_its_guard_is_taken_out(
    name: str, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    PITFALLS[name].without(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        PITFALLS[name].check(folders)
