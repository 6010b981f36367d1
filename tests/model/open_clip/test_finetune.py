"""Fine-tuning: as CLIP's, whatever the towers are made of, or a clear refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model.open_clip.folders import write_folder
from vtrcli.errors import UsageError
from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.families import backbone_info, load_backbone, load_trainable
from vtrcli.training.finetune import FinetuneEncoder
from vtrcli.training.step import PairBatch, World, batch_loss

KINDS = ["clip", "siglip", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("pe", "eva"))]


@pytest.fixture(scope="module")
def folders(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a kind."""

    def found(kind: str) -> Path:
        if kind not in models:
            models[kind] = write_folder(tmp_path_factory.mktemp("large") / kind, kind)
        return models[kind]

    return found


def encoder(folder: Path, **options: Any) -> FinetuneEncoder:
    torch.manual_seed(0)
    tuned = load_trainable(str(folder), device="cpu")
    return FinetuneEncoder(tuned, Camoe(CamoeConfig(dim=tuned.info.dim, width=8)), **options)


def batch_for(encoder: FinetuneEncoder) -> PairBatch:
    generator = torch.Generator().manual_seed(1)
    ids = [encoder.tuned.tokenize(text) for text in ("a red dog", "a cat", "blue birds fly")]
    tokens = torch.zeros(3, max(map(len, ids)), dtype=torch.long)
    for row, its in zip(tokens, ids, strict=True):
        row[: len(its)] = torch.tensor(its)
    pixels = torch.randint(0, 256, (3, 2, *encoder.tuned.preprocessing.shape), generator=generator)
    return PairBatch(
        pixels.to(torch.uint8),
        torch.ones(3, 2, dtype=torch.bool),
        tokens[:, None].expand(3, 3, -1),
        torch.ones(3, 3, dtype=torch.bool),
        torch.arange(3),
    )


def gradients(encoder: FinetuneEncoder) -> dict[str, torch.Tensor | None]:
    encoder.train()
    loss = batch_loss(encoder, encoder.head, batch_for(encoder), world=World(), dsl_temperature=None)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in encoder.clip.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_computing_again_changes_no_gradient_and_the_first_layers_get_none(
    kind: str, folders: Callable[[str], Path]
) -> None:
    all_of_them = gradients(encoder(folders(kind)))
    assert {name for name, gradient in all_of_them.items() if gradient is None} == {"logit_scale"}
    saving = gradients(encoder(folders(kind), gradient_checkpointing=True))
    for name, gradient in all_of_them.items():
        assert gradient is None or torch.equal(gradient, saving[name]), name  # type: ignore[arg-type]
    found = gradients(encoder(folders(kind), freeze_layers=1))
    frozen = {name for name, gradient in found.items() if gradient is None}
    first = "blocks.0. embedding conv1 ln_pre patch_embed pos_embed cls_token"
    assert {name for name in frozen if not any(part in name for part in first.split())} == {"logit_scale"}
    towers = {name.partition(".")[0] for name in frozen if "blocks.0." in name}
    assert towers == {"visual", "text"} and "text.token_embedding.weight" in frozen


@pytest.mark.parametrize("kind", KINDS)
def test_what_learns_gives_the_features_of_what_is_loaded_and_saved(
    kind: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    import open_clip

    tuned = load_trainable(str(folders(kind)), device="cpu")
    loaded, text_tower = (
        load_backbone(str(folders(kind)), device="cpu", towers=towers) for towers in ("image", "text")
    )
    frames = np.random.default_rng(0).integers(0, 256, (2, *tuned.preprocessing.shape), np.uint8)
    images, texts = tuned.encoders(device="cpu")
    np.testing.assert_array_equal(images(frames), loaded.encode_images(frames))
    ids = torch.tensor([tuned.tokenize("a red dog")])
    np.testing.assert_array_equal(texts(ids).numpy(), text_tower.encode_texts(["a red dog"]).features)
    with torch.no_grad():
        for parameter in tuned.module.parameters():
            parameter.mul_(1.01)
        learned = tuned.encode_pixels(torch.from_numpy(frames)).numpy()
    info = tuned.save(tmp_path / "saved", log_scale=torch.tensor(3.0), started_from="here")
    assert info == backbone_info(str(tmp_path / "saved")) and info.sha256 != loaded.info.sha256
    assert info.logit_scale == pytest.approx(np.exp(3)) and info.logit_bias == loaded.info.logit_bias
    again = load_backbone(str(tmp_path / "saved"), device="cpu", precision="float32")
    np.testing.assert_allclose(again.encode_images(frames), learned, rtol=1e-3, atol=1e-4)
    model, *_ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'saved'}")  # strictly
    assert float(model.logit_scale.detach()) == 3.0


def test_a_tower_without_equal_layers_is_refused(folders: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError) as caught:
        load_trainable(str(folders("mobileclip")), device="cpu")
    assert str(caught.value) == (
        f"{folders('mobileclip')} cannot be fine-tuned: its image tower, a ByobNet, is no row of equal layers; "
        "--finetune freezes and recomputes the layers of transformers: open_clip's own, timm's ViT and EVA; "
        "train on its cached features: leave --finetune out"
    )


def test_more_frozen_layers_than_there_are_is_usage(folders: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="this backbone has 2 image and 2 text layers; lower"):
        encoder(folders("clip"), freeze_layers=3)
