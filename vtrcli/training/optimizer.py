"""AdamW with the field's parameter groups, and warm-up followed by a cosine to zero."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from vtrcli.model.train_settings import TrainSettings

# CLIP's own values, which CLIP4Clip and its successors keep.
BETAS, EPSILON = (0.9, 0.98), 1e-6


def make_optimizer(
    heads: nn.Module, backbone: nn.Module | None, settings: TrainSettings
) -> torch.optim.AdamW:
    """One group per learning rate and decay; vectors and scalars (biases, norms, scales) do not decay."""
    groups: list[dict[str, Any]] = []
    modules = [(heads, settings.learning_rate)]
    if backbone is not None:
        modules.append((backbone, settings.backbone_learning_rate))
    for module, rate in modules:
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for decay, members in (
            (settings.weight_decay, [parameter for parameter in trained if parameter.ndim > 1]),
            (0.0, [parameter for parameter in trained if parameter.ndim <= 1]),
        ):
            if members:
                groups.append({"params": members, "lr": rate, "weight_decay": decay, "initial_lr": rate})
    return torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)


def num_warmup_steps(num_steps: int, warmup_share: float) -> int:
    """In how many steps, of all that a run has, the rate rises."""
    return int(warmup_share * num_steps)


def rate_factor(step: int, *, num_steps: int, warmup_share: float) -> float:
    """What a learning rate is multiplied by at `step` (from 0): linear warm-up, then half a cosine to zero."""
    num_warmup = num_warmup_steps(num_steps, warmup_share)
    if step < num_warmup:
        return (step + 1) / num_warmup
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scale every group's rate; returns the first one for the record."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
