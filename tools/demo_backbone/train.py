"""Trains the tiny CLIP that the toolkit ships: `python -m tools.demo_backbone.train --out FILE`.

Two contrastive losses share each batch: every frame against a caption of that frame (place, size, angle), and the
mean of a clip's frames against a caption of the clip. A mean knows no order, so the model alone cannot tell clips
that differ only in their order. Two heads, thrown away afterwards, see to it that a temporal model on top can: one
reads place, size and angle from each frame, one tells a clip from its reverse by the order of its frames, so that
texts which differ in the order word alone ("left", "right") differ in their features too.
The scenes are drawn from seeds of their own: the demo corpus is held out.
Our choice throughout; nothing here follows a paper.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from math import cos, log, pi
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from tools.demo_backbone.data import GEOMETRY_DIM, TrainingBatch, draw_batch
from vtrcli.model.backbone import cpu_has_bfloat16, normalised_pixels
from vtrcli.model.clip.converted import preprocessing
from vtrcli.model.clip.model import clip_model_module, pad_tokens, save_converted
from vtrcli.model.clip.tokens import tokenize

# The arguments of clip.model.CLIP; its loaders find them again from the shapes (heads = width / 64).
SIZES: dict[str, int] = {
    "embed_dim": 128,
    "image_resolution": 64,
    "vision_layers": 4,
    "vision_width": 128,
    "vision_patch_size": 16,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 3,
}
DEFAULT_STEPS = 1800
_NUM_CLIPS, _NUM_FRAMES = 48, 3  # per batch
_LEARNING_RATE, _WARMUP_STEPS, _WEIGHT_DECAY = 1e-3, 100, 0.02
_GEOMETRY_WEIGHT = 10.0
_MAX_LOGIT_SCALE = log(100)
_UNKNOWN_TOKEN = 0  # its embedding stays zero, as do those of all tokens never seen
_UNKNOWN_SHARE = 0.03

Report = Callable[[int, dict[str, float]], None]


def train(*, seed: int = 0, num_steps: int = DEFAULT_STEPS, report: Report | None = None) -> Any:
    """Train from scratch on the CPU and return the `clip.model.CLIP`; `report(step, losses)` after every step."""
    torch.manual_seed(seed)
    rng = random.Random(f"vtr demo unknown words {seed}")
    model = clip_model_module().CLIP(**SIZES).train()
    heads = Heads(SIZES["embed_dim"], num_frames=_NUM_FRAMES)
    _initialise(model)
    optimizer = torch.optim.AdamW(_parameter_groups(model, heads), lr=_LEARNING_RATE, betas=(0.9, 0.98))
    seen = torch.zeros(SIZES["vocab_size"], dtype=torch.bool)
    for step, batch in enumerate(_batches(seed, num_steps)):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * _schedule(step, num_steps)
        tokens = _tokens(batch, rng)
        seen[tokens] = True
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
            losses = batch_losses(model, heads, batch, tokens)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.logit_scale.data.clamp_(max=_MAX_LOGIT_SCALE)
        if report is not None:
            report(step, {name: loss.item() for name, loss in losses.items()})
    model.token_embedding.weight.data[~seen] = 0
    return model.eval()


class Heads(torch.nn.Module):
    """What is trained beside the model and thrown away; both take unit features of frames."""

    def __init__(self, dim: int, *, num_frames: int) -> None:
        super().__init__()
        self.geometry = torch.nn.Linear(dim, GEOMETRY_DIM)
        self.order = torch.nn.Sequential(
            torch.nn.Linear(num_frames * dim, 2 * dim), torch.nn.GELU(), torch.nn.Linear(2 * dim, dim)
        )


def batch_losses(
    model: Any, heads: Heads, batch: TrainingBatch, tokens: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Loss of clips, ordered clips, frames and geometry; `tokens` holds the clip texts, then the frame texts."""
    num_clips, num_frames = batch.frames.shape[:2]
    pictures = batch.frames.reshape(-1, *batch.frames.shape[2:])
    pixels = normalised_pixels(pictures, preprocessing(pictures.shape[1]), device="cpu")
    frames = functional.normalize(model.encode_image(pixels).float(), dim=-1)
    by_clip = frames.reshape(num_clips, num_frames, -1)
    clips = functional.normalize(by_clip.mean(dim=1), dim=-1)
    ordered = functional.normalize(clips + heads.order(by_clip.flatten(1)).float(), dim=-1)
    texts = functional.normalize(model.encode_text(tokens).float(), dim=-1)
    scale = model.logit_scale.exp()
    targets = torch.from_numpy(batch.geometry)
    told = ~targets.isnan()
    guesses = heads.geometry(frames * frames.shape[1] ** 0.5).float()
    return {
        "clips": contrastive_loss(scale * texts[:num_clips] @ clips.T, batch.clip_texts),
        "order": contrastive_loss(scale * texts[:num_clips] @ ordered.T, batch.clip_texts),
        "frames": contrastive_loss(scale * texts[num_clips:] @ frames.T, batch.frame_texts),
        "geometry": _GEOMETRY_WEIGHT * functional.mse_loss(guesses[told], targets[told]),
    }


def contrastive_loss(logits: torch.Tensor, texts: list[str]) -> torch.Tensor:
    """Symmetric InfoNCE of logits [num_texts, num_texts] in which equal texts share their positives."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    labels = torch.tensor([numbers[text] for text in texts])
    same = (labels[:, None] == labels[None, :]).float()
    targets = same / same.sum(dim=1, keepdim=True)
    logits = logits.float()
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2


def _batches(seed: int, num_steps: int) -> Iterator[TrainingBatch]:
    """Batches drawn ahead by one other process; each has a seed of its own, so their order is fixed."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[TrainingBatch]] = deque()
        for step in range(num_steps):
            waiting.append(pool.submit(_drawn_batch, f"vtr demo backbone {seed} {step}"))
            if len(waiting) > 4:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _drawn_batch(seed: str) -> TrainingBatch:
    return draw_batch(
        random.Random(seed), num_clips=_NUM_CLIPS, num_frames=_NUM_FRAMES, size=SIZES["image_resolution"]
    )


def _initialise(model: Any) -> None:
    """Larger word and place vectors than CLIP starts with, and a row of zeros that no gradient reaches."""
    torch.nn.init.normal_(model.visual.positional_embedding, std=0.5)
    torch.nn.init.normal_(model.positional_embedding, std=0.05)
    torch.nn.init.normal_(model.token_embedding.weight, std=0.1)
    model.token_embedding.padding_idx = _UNKNOWN_TOKEN
    model.token_embedding.weight.data[_UNKNOWN_TOKEN] = 0


def _parameter_groups(*modules: Any) -> list[dict[str, Any]]:
    """Weight decay for matrices only; never for embeddings, norms, biases and the logit scale."""
    named = [pair for module in modules for pair in module.named_parameters()]
    decayed = [p for name, p in named if p.ndim >= 2 and "embedding" not in name]
    others = [p for name, p in named if p.ndim < 2 or "embedding" in name]
    return [{"params": decayed, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]


def _schedule(step: int, num_steps: int) -> float:
    warmup = min(1.0, (step + 1) / _WARMUP_STEPS)
    return warmup * (0.02 + 0.98 * 0.5 * (1 + cos(pi * step / num_steps)))


def _tokens(batch: TrainingBatch, rng: random.Random) -> torch.Tensor:
    """Token ids int64 [num_texts, longest], a few words made unknown so that odd words do little harm."""
    rows = []
    for text in (*batch.clip_texts, *batch.frame_texts):
        start, *words, end = tokenize(text, context_length=SIZES["context_length"])[0]
        words = [_UNKNOWN_TOKEN if rng.random() < _UNKNOWN_SHARE else word for word in words]
        rows.append([start, *words, end])
    return pad_tokens(rows)


def main() -> None:
    """Train, then write the weights in half precision."""
    parser = argparse.ArgumentParser(description="Train the tiny CLIP of the demo.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    options = parser.parse_args()
    torch.set_num_threads(1)  # the other core draws
    began = time.monotonic()

    def report(step: int, losses: dict[str, float]) -> None:
        if step % 50 == 0 or step + 1 == options.steps:
            parts = " ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            print(f"step {step}: {parts} after {time.monotonic() - began:.0f} s", flush=True)

    model = train(seed=options.seed, num_steps=options.steps, report=report)
    save_converted(model.half(), options.out, name="demo", source="tools.demo_backbone.train")


if __name__ == "__main__":
    main()
