"""CLIP in front of CAMoE: what is frozen stays, checkpointing changes no gradient, padding counts for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.tiny_clip import TINY_CONFIG, random_state_dict, write_tiny_clip
from vtrcli.errors import UsageError
from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.clip.converted import ClipConfig
from vtrcli.model.clip.model import save_converted
from vtrcli.training.finetune import FinetuneEncoder, start_clip
from vtrcli.training.step import PairBatch, World, batch_loss

BATCH, FRAMES = 4, 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip") / "clip.safetensors"))


def make(weights: str, *, freeze_layers: int = 0, gradient_checkpointing: bool = False) -> FinetuneEncoder:
    torch.manual_seed(0)
    clip, tag = start_clip(weights, device="cpu")
    camoe = Camoe(CamoeConfig(dim=tag.dim, width=8))
    return FinetuneEncoder(
        clip, camoe, freeze_layers=freeze_layers, gradient_checkpointing=gradient_checkpointing
    )


def make_batch() -> PairBatch:
    generator = torch.Generator().manual_seed(1)
    size = TINY_CONFIG.image_resolution
    tokens = torch.randint(1, 400, (BATCH, 3, 6), generator=generator)
    tokens[:, :, -1] = 49407
    return PairBatch(
        torch.randint(0, 256, (BATCH, FRAMES, size, size, 3), generator=generator).to(torch.uint8),
        torch.tensor([[True, True, number % 2 == 0] for number in range(BATCH)]),
        tokens,
        torch.ones(BATCH, 3, dtype=torch.bool),
        torch.arange(BATCH),
    )


def gradients(encoder: FinetuneEncoder) -> dict[str, torch.Tensor | None]:
    loss = batch_loss(encoder, encoder.head, make_batch(), world=World(), dsl_temperature=None)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad for name, parameter in encoder.named_parameters()}


def test_checkpointing_gives_the_same_gradients_under_the_same_names(weights: str) -> None:
    plain, saving = make(weights), make(weights, gradient_checkpointing=True)
    assert plain.state_dict().keys() == saving.state_dict().keys()
    kept, expected = gradients(saving), gradients(plain)
    for name, gradient in expected.items():
        assert gradient is not None or name == "clip.logit_scale", name
        assert gradient is None or torch.equal(gradient, kept[name]), name  # type: ignore[arg-type]


def test_frozen_layers_and_embeddings_get_no_gradient_and_all_others_do(weights: str) -> None:
    frozen = {
        name for name, gradient in gradients(make(weights, freeze_layers=1)).items() if gradient is None
    }
    first = ("resblocks.0.", "token_embedding", "positional_embedding", "class_embedding", "conv1", "ln_pre")
    assert {name for name in frozen if not any(part in name for part in first)} == {"clip.logit_scale"}
    assert "clip.visual.transformer.resblocks.0.mlp.c_fc.weight" in frozen
    assert "clip.token_embedding.weight" in frozen and "clip.positional_embedding" in frozen


def test_more_frozen_layers_than_there_are_is_usage(weights: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(weights, freeze_layers=3)
    assert str(caught.value) == (
        "freeze_layers is 3; this CLIP has 2 image and 2 text layers; lower --freeze-layers"
    )


def test_frames_outside_the_mask_count_for_nothing(weights: str) -> None:
    encoder, batch = make(weights), make_batch()
    videos = encoder(batch.frames, batch.frame_mask, batch.texts, batch.stream_mask)[0]
    noisy = batch.frames.clone()
    noisy[~batch.frame_mask] = 7
    again = encoder(noisy, batch.frame_mask, batch.texts, batch.stream_mask)[0]
    assert torch.equal(videos, again)


def test_bfloat16_gives_nearly_the_same_vectors(weights: str) -> None:
    encoder, batch = make(weights), make_batch()
    arguments = (batch.frames, batch.frame_mask, batch.texts, batch.stream_mask)
    expected = encoder(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder(*arguments)
    for one, other in zip(expected[:2], found[:2], strict=True):
        assert torch.nn.functional.cosine_similarity(one, other).min() > 0.999


def test_from_scratch_takes_the_sizes_alone(weights: str) -> None:
    torch.manual_seed(0)
    clip, tag = start_clip(weights, from_scratch=True, device="cpu")
    known, _ = start_clip(weights, device="cpu")
    shapes = {name: tensor.shape for name, tensor in known.state_dict().items()}
    assert {name: tensor.shape for name, tensor in clip.state_dict().items()} == shapes
    assert not torch.equal(clip.visual.proj, known.visual.proj)
    assert tag.name.endswith(" from scratch") and tag.logit_scale == pytest.approx(1 / 0.07)


def test_a_resnet_is_not_fine_tuned(tmp_path: Path) -> None:
    config = ClipConfig(**{**vars(TINY_CONFIG), "vision_layers": (1, 1, 1, 1), "vision_patch_size": None})
    path = save_converted(random_state_dict(config), tmp_path / "resnet.safetensors", name="resnet")
    with pytest.raises(
        UsageError, match="has a ResNet as its image tower; fine-tuning is for ViT backbones; "
    ):
        start_clip(str(path), device="cpu")
