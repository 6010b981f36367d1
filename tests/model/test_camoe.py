"""The mixture score against its formula, for every gate, mask and choice of experts; starts, bounds and refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vtrcli.errors import InputError, UsageError
from vtrcli.model.camoe import START_BIAS, Camoe
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.losses import contrastive_loss
from vtrcli.model.train_settings import Aggregator, Gate
from vtrcli.text.streams import STREAMS, Stream

DIM = 8
AGGREGATORS, GATES = get_args(Aggregator), get_args(Gate)
SUBSETS = [subset for size in (1, 2, 3) for subset in combinations(STREAMS, size)]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tensors of a few numbers: threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(*, trained: bool = True, **options: Any) -> Camoe:
    torch.manual_seed(0)
    model = Camoe(CamoeConfig(dim=DIM, width=16, num_heads=2, num_positions=4, **options))
    if trained:  # away from the zeros that the model starts with
        for parameter in [*model.aggregator.parameters(), *(model.gate.parameters() if model.gate else [])]:
            nn.init.normal_(parameter)
    return model.eval()


def features(num_experts: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames of 3 videos (5, 3 and 1 frames) and 4 texts that have all, two, one and none of the streams."""
    generator = torch.Generator().manual_seed(1)
    frames = 10 * torch.randn(3, 5, DIM, generator=generator)
    frame_mask = torch.arange(5) < torch.tensor([[5], [3], [1]])
    texts = 7 * torch.randn(4, num_experts, DIM, generator=generator)
    stream_mask = torch.arange(num_experts) < torch.tensor([[3], [2], [1], [0]])
    return frames, frame_mask, texts, stream_mask


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("experts", SUBSETS)
def test_texts_in_numpy_are_those_of_torch(experts: tuple[Stream, ...], gate: Gate) -> None:
    """A search makes them so; the weights are those that a run keeps."""
    model = make(experts=experts, gate=gate, aggregator="mean")
    _, _, texts, stream_mask = features(len(experts))
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}

    def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
        assert weights[name].shape == shape
        return weights[name]

    for scale in (1.0, 0.0):
        wanted = model.text_vectors(scale * texts, stream_mask).detach().numpy()
        found = model.config.text_vectors(weight, scale * texts.numpy(), stream_mask.numpy())
        assert found.dtype == np.float32 and found.shape == (4, *model.config.text_shape)
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def direct_score(model: Camoe, frames: torch.Tensor, streams: torch.Tensor, present: list[bool]) -> float:
    """The mixture of one text and one unpadded video, written out: sum of gate_e cos(text_e, video_e)."""
    num_experts = len(streams)
    units = F.normalize(frames, dim=-1)
    experts = model.aggregator(units.unsqueeze(0), torch.ones(1, len(frames), dtype=torch.bool))[0]
    have = present if any(present) else [True] * num_experts
    gate = [1 / sum(have) if has else 0.0 for has in have]
    if model.gate is not None and model.config.gate == "video":
        gate = torch.softmax(model.gate(units.mean(dim=0)), dim=0).tolist()
    elif model.gate is not None:
        mean = F.normalize(streams[torch.tensor(have)], dim=-1).mean(dim=0)
        raw = [
            math.exp(score) if has else 0.0
            for score, has in zip(model.gate(mean).tolist(), have, strict=True)
        ]
        gate = [weight / sum(raw) for weight in raw]
    cosines = F.cosine_similarity(streams, experts, dim=-1).tolist()
    return sum(weight * cosine for weight, cosine in zip(gate, cosines, strict=True))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("experts", SUBSETS, ids="-".join)
def test_score_and_inner_product_of_the_vectors_are_the_mixture(
    experts: tuple[Any, ...], aggregator: Any, gate: Any
) -> None:
    model = make(experts=experts, aggregator=aggregator, gate=gate)
    frames, frame_mask, texts, stream_mask = features(len(experts))
    with torch.no_grad():
        expected = torch.tensor(
            [
                [
                    direct_score(
                        model, frames[video, frame_mask[video]], texts[text], stream_mask[text].tolist()
                    )
                    for video in range(3)
                ]
                for text in range(4)
            ]
        )
        videos = model.video_vectors(frames, frame_mask)
        queries = model.text_vectors(texts, stream_mask)
        scores = model(frames, frame_mask, texts, stream_mask)
    assert videos.shape == (3, len(experts) * DIM)
    assert queries.shape == (4, len(experts) * DIM)
    torch.testing.assert_close(queries @ videos.T, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    assert scores.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_untrained_it_is_the_start_gates_mixture_of_cosines_with_the_mean_frame(
    aggregator: Any, gate: Any
) -> None:
    frames, frame_mask, texts, _ = features()
    every = torch.ones(4, 3, dtype=torch.bool)
    scores = make(trained=False, aggregator=aggregator, gate=gate)(frames, frame_mask, texts, every)
    units = F.normalize(frames, dim=-1) * frame_mask.unsqueeze(-1)
    pooled = F.normalize(units.sum(dim=1), dim=-1)
    bias = torch.tensor([0.0 if gate == "uniform" else START_BIAS, 0.0, 0.0])  # the whole caption comes first
    mixed = (F.normalize(texts, dim=-1) * bias.softmax(dim=0).unsqueeze(-1)).sum(dim=1)
    torch.testing.assert_close(scores, mixed @ pooled.T)


def test_with_the_fusion_expert_alone_it_starts_as_zero_shot_clip() -> None:
    frames, frame_mask, texts, _ = features(1)
    scores = make(trained=False, experts=("fusion",))(
        frames[:1], frame_mask[:1], texts, torch.ones(4, 1, dtype=torch.bool)
    )
    pooled = F.normalize(frames[0], dim=-1).mean(dim=0)
    torch.testing.assert_close(scores[:, 0], F.cosine_similarity(texts[:, 0], pooled, dim=-1))


@pytest.mark.parametrize("gate", ["text", "uniform"])
def test_what_lies_in_a_masked_stream_does_not_count(gate: Any) -> None:
    model = make(gate=gate)
    _, _, texts, stream_mask = features()
    other = torch.where(stream_mask.unsqueeze(-1), texts, texts + 5)
    torch.testing.assert_close(
        model.text_vectors(other, stream_mask)[:3], model.text_vectors(texts, stream_mask)[:3]
    )


def test_with_the_video_gate_a_missing_stream_is_compared_by_the_caption_in_its_place() -> None:
    model = make(gate="video")
    frames, frame_mask, texts, stream_mask = features()
    texts[:, 1:] = texts[:, :1]  # the fall-back of split_streams: each stream is the caption
    scores = model(frames, frame_mask, texts, stream_mask)
    torch.testing.assert_close(scores, model(frames, frame_mask, texts, torch.ones_like(stream_mask)))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_padding_does_not_count_even_when_it_is_nan(aggregator: Any, gate: Any) -> None:
    model = make(aggregator=aggregator, gate=gate).train()
    frames, frame_mask, texts, stream_mask = features()
    scores = model(frames, frame_mask, texts, stream_mask)
    frames[~frame_mask] = math.nan
    frames.requires_grad_()
    again = model(frames, frame_mask, texts, stream_mask)
    torch.testing.assert_close(again, scores)
    again.sum().backward()
    gradients = [frames.grad, *(p.grad for p in model.parameters() if p.grad is not None)]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("gate", GATES)
def test_zero_vectors_score_zero_and_make_no_nan(gate: Any) -> None:
    model = make(aggregator="mean", gate=gate)
    frames, frame_mask, texts, stream_mask = features()
    frames[0], texts[1] = 0, 0
    scores = model(frames.half(), frame_mask, texts.half(), stream_mask)
    assert torch.isfinite(scores).all()
    assert scores[:, 0].abs().max() == 0 and scores[1].abs().max() == 0


def test_a_nan_in_a_frame_is_passed_on_to_be_seen() -> None:
    frames, frame_mask, texts, stream_mask = features()
    frames[2, 0, 0] = math.nan
    scores = make()(frames, frame_mask, texts, stream_mask)
    assert scores[:, 2].isnan().all() and torch.isfinite(scores[:, :2]).all()


def test_stored_float16_features_are_taken_as_they_are() -> None:
    frames, frame_mask, texts, stream_mask = features()
    scores = make()(frames.half(), frame_mask, texts.half(), stream_mask)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, make()(frames, frame_mask, texts, stream_mask), rtol=0, atol=2e-3)


@pytest.mark.parametrize("aggregator", ["mean", "se"])
def test_under_autocast_cosines_keep_float32(aggregator: Any) -> None:
    frames, frame_mask, texts, stream_mask = features()
    model = make(trained=False, aggregator=aggregator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = model(frames, frame_mask, texts, stream_mask)
    torch.testing.assert_close(scores, model(frames, frame_mask, texts, stream_mask), rtol=0, atol=1e-6)


def test_the_logit_scale_starts_at_the_backbones_and_never_passes_clips_bound_or_that() -> None:
    config = CamoeConfig(dim=DIM)
    for scale in (14.3, 100.0, 112.7):  # untrained CLIP's, CLIP's, a sigmoid model's
        assert Camoe(config, logit_scale=scale).logit_scale.item() == pytest.approx(scale)
    higher = Camoe(config, logit_scale=112.7)
    with torch.no_grad():
        higher.log_scale += 1
    assert higher.logit_scale.item() == pytest.approx(112.7)
    model = Camoe(config, logit_scale=14.3)
    with torch.no_grad():
        model.log_scale += 3
    assert model.logit_scale.item() == pytest.approx(100.0)
    assert torch.autograd.grad(model.logit_scale, model.log_scale)[0] == 0
    model.clamp_log_scale()
    assert torch.autograd.grad(model.logit_scale, model.log_scale)[0] == pytest.approx(100.0)


def reversible_clips() -> tuple[torch.Tensor, torch.Tensor]:
    """32 videos of 6 frames from one picture to another and their reverses; each text is what the video ends with."""
    generator = torch.Generator().manual_seed(3)
    first, last = torch.randn(2, 32, 1, DIM, generator=generator)
    weight = torch.linspace(0, 1, 6).unsqueeze(-1)
    clips = first * (1 - weight) + last * weight
    frames = torch.stack([clips, clips.flip(1)], dim=1).flatten(0, 1)
    texts = torch.stack([last + 0.3 * first, first + 0.3 * last], dim=1).flatten(0, 1)
    return frames, texts


@pytest.mark.parametrize(("aggregator", "least", "most"), [("attention", 0.9, 1.0), ("mean", 0.0, 0.6)])
def test_pairs_that_differ_in_order_only_are_learned_by_attention_not_by_mean(
    aggregator: Any, least: float, most: float
) -> None:
    frames, texts = reversible_clips()
    torch.manual_seed(0)
    model = Camoe(
        CamoeConfig(dim=DIM, experts=("fusion",), aggregator=aggregator, width=32), logit_scale=20.0
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    masks = torch.ones(64, 6, dtype=torch.bool), torch.ones(64, 1, dtype=torch.bool)
    for _ in range(60):
        scores = model(frames, masks[0], texts, masks[1])
        optimizer.zero_grad()
        contrastive_loss(scores * model.logit_scale, dsl_temperature=None).backward()
        optimizer.step()
    truth, reverse = scores.diagonal(), scores[torch.arange(64), torch.arange(64) ^ 1]
    assert least <= (truth > reverse + 1e-4).float().mean().item() <= most


@pytest.mark.parametrize(
    "config",
    [CamoeConfig(dim=512), CamoeConfig(dim=64, experts=("action", "fusion"), gate="text", dropout=0.1)],
)
def test_config_survives_json(config: CamoeConfig) -> None:
    assert CamoeConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dim": 0}, "CAMoE dim = 0; dim: a whole number from 1; correct it or leave it out"),
        (
            {"dim": 8, "gate": "both"},
            "CAMoE gate = 'both'; gate: video, text, uniform; correct it or leave it out",
        ),
        (
            {"dim": 8, "aggregator": None},
            "CAMoE aggregator = None; aggregator: mean, se, attention; correct it or leave it out",
        ),
        (
            {"dim": 8, "experts": []},
            "CAMoE experts = (); experts: some of fusion, entity, action; correct it or leave it out",
        ),
        (
            {"dim": 8, "experts": ["scene"]},
            "CAMoE experts = ('scene',); experts: some of fusion, entity, action; correct it or leave it out",
        ),
        (
            {"dim": 8, "experts": "fusion"},
            "CAMoE experts = 'fusion'; experts: a list; correct it or leave it out",
        ),
        (
            {"dim": 8, "width": 30},
            "CAMoE width = 30; width: a multiple of 4 heads; correct it or leave it out",
        ),
        (
            {"dim": 8, "dropout": 1},
            "CAMoE dropout = 1; dropout: from 0 to below 1; correct it or leave it out",
        ),
        (
            {"size": 8},
            "CAMoE keys = 'size, dim'; keys: dim, experts, aggregator, gate, width, num_layers, num_heads, "
            "num_positions, dropout; dim must be there; correct it or leave it out",
        ),
    ],
)
def test_nonsense_in_a_config_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        CamoeConfig.from_json(body)
    assert str(caught.value) == message


def test_a_logit_scale_must_be_positive() -> None:
    with pytest.raises(UsageError, match="CAMoE logit_scale = 0.0; logit_scale: a positive number; "):
        Camoe(CamoeConfig(dim=DIM), logit_scale=0.0)


def test_a_video_without_frames_is_refused() -> None:
    frames, frame_mask, _, _ = features()
    frame_mask[1] = False
    with pytest.raises(InputError) as caught:
        make().video_vectors(frames, frame_mask)
    assert str(caught.value) == (
        "a video without frames; at least one frame per video inside the mask; leave the video out"
    )


def test_features_of_another_backbone_are_refused() -> None:
    _, frame_mask, _, stream_mask = features()
    with pytest.raises(InputError) as caught:
        make().video_vectors(torch.zeros(3, 5, 512), frame_mask)
    assert str(caught.value) == (
        "frames [3, 5, 512] with a mask [3, 5] of torch.bool; [V, F, 8] with a bool mask [V, F]; "
        "check that store, run and backbone belong together"
    )
    with pytest.raises(InputError) as caught:
        make().text_vectors(torch.zeros(4, 2, DIM), stream_mask)
    assert str(caught.value) == (
        "texts [4, 2, 8] with a mask [4, 3] of torch.bool; [Q, 3, 8] with a bool mask [Q, 3]; "
        "check that store, run and backbone belong together"
    )
