"""CLIP in front of CAMoE: what is frozen stays, checkpointing changes no gradient, padding counts for nothing."""

from __future__ import annotations

import pytest
import torch

from tests.model.tiny_clip import TINY_CONFIG
from vtrcli.errors import UsageError
from vtrcli.model.camoe import Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.families import load_trainable
from vtrcli.training.finetune import FinetuneEncoder
from vtrcli.training.step import PairBatch, World, batch_loss

BATCH, FRAMES = 4, 3


def make(weights: str, *, freeze_layers: int = 0, gradient_checkpointing: bool = False) -> FinetuneEncoder:
    torch.manual_seed(0)
    tuned = load_trainable(weights, device="cpu")
    camoe = Camoe(CamoeConfig(dim=tuned.info.dim, width=8))
    return FinetuneEncoder(
        tuned, camoe, freeze_layers=freeze_layers, gradient_checkpointing=gradient_checkpointing
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
        "freeze_layers is 3; this backbone has 2 image and 2 text layers; lower --freeze-layers"
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
