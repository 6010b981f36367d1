"""The two training losses, InfoNCE and the Dual Softmax Loss (DSL); the docstrings are their definitions.

Letters: Q texts (rows), V videos (columns). Logits are logit scale x cosine, so up to 100. Computed in float32 at
least, and over whatever batch the matrix covers: gathering it from other processes is the trainer's work.
Correcting a finished similarity matrix is `vtrcli.ranking`'s.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

from vtrcli.errors import InputError


def contrastive_loss(
    logits: torch.Tensor, *, dsl_temperature: float | None, positives: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits [Q, V] -> scalar: the mean of both directions, each the mean of `row_losses`.

    dsl_temperature None is InfoNCE. Otherwise it is DSL: the text-to-video direction takes the logits revised by the
    prior over texts, the video-to-text direction those revised by the prior over videos (`dsl_logits`).

    positives: bool [Q, V], True where a text describes a video; by default the diagonal of a square matrix. With it a
    batch may hold a video twice, or several captions of it: they are no negatives of each other.

    Raises:
        InputError: no positives and not square, or a row or a column of positives without one.
    """
    if positives is None:
        positives = _diagonal(logits)
    elif positives.shape != logits.shape or not bool(
        positives.any(dim=0).all() and positives.any(dim=1).all()
    ):
        raise InputError(
            f"positives {list(positives.shape)} for logits {list(logits.shape)}",
            allowed="the same shape, with at least one True in each row and column",
            to_do="give each text its video and each video a text",
        )
    rows = columns = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if dsl_temperature is not None:
        rows = dsl_logits(logits, temperature=dsl_temperature, prior="rows")
        columns = dsl_logits(logits, temperature=dsl_temperature, prior="columns")
    return (row_losses(rows, positives).mean() + row_losses(columns.T, positives.T).mean()) / 2


def dsl_logits(
    logits: torch.Tensor, *, temperature: float, prior: Literal["rows", "columns"]
) -> torch.Tensor:
    """Logits L [Q, V] revised by a prior that they make themselves; gradients flow through both.

    "rows", for text-to-video: N L_ij exp(L_ij / T) / sum over rows i' of exp(L_i'j / T), N = Q.
    "columns", for video-to-text: N L_ij exp(L_ij / T) / sum over columns j' of exp(L_ij' / T), N = V.

    From the released code (DSL.py of the authors' repository): the product, the axis, the factor N, no detaching. N
    keeps the logits at their size, since a prior over N entries is 1/N on average.

    Raises:
        InputError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise InputError(
            f"DSL temperature {temperature}",
            allowed="a positive number, 30 to 300 for training on 100 x cosine",
            to_do="leave it out for InfoNCE",
        )
    axis = 0 if prior == "rows" else 1
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits * (logits / temperature).softmax(dim=axis) * logits.shape[axis]


def row_losses(logits: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
    """Logits [Q, V], bool [Q, V] -> [Q]: cross entropy of each row.

    For each positive p of row i, -log(exp(L_ip) / (exp(L_ip) + sum over negatives n of exp(L_in))); the mean over the
    row's positives (our choice). With one positive per row it is the usual -log_softmax(L)_ip.
    """
    # Not -inf: the gradient of a logsumexp over nothing else is NaN, and a batch of one video has no negatives.
    lowest = torch.finfo(logits.dtype).min
    negatives = logits.masked_fill(positives, lowest).logsumexp(dim=1, keepdim=True)
    losses = F.softplus(negatives - logits).masked_fill(~positives, 0)
    return losses.sum(dim=1) / positives.sum(dim=1)


def _diagonal(logits: torch.Tensor) -> torch.Tensor:
    num_texts, num_videos = logits.shape
    if num_texts != num_videos:
        raise InputError(
            f"{num_texts} texts and {num_videos} videos in a batch",
            allowed="as many texts as videos, in the same order",
            to_do="say with `positives` which text describes which video",
        )
    return torch.eye(num_texts, dtype=torch.bool, device=logits.device)
