"""Which device and which number format the backbone computes in; never changes a setting of torch."""

from __future__ import annotations

from typing import Literal

import torch

from vtrcli.errors import UsageError

Precision = Literal["auto", "float16", "bfloat16", "float32"]

Towers = Literal["both", "text", "image"]

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def choose_device(device: str) -> str:
    """`auto` is CUDA, else Apple's MPS, else the CPU; anything else must be there. Raises UsageError."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises AssertionError for a build without CUDA
        raise UsageError(
            f"device {device!r} cannot be used here",
            allowed="auto, cpu, cuda, cuda:N or mps, as far as this machine has them",
            to_do="use --device auto",
        ) from error
    return device


def choose_precision(precision: Precision, *, device: str, towers: Towers) -> str:
    """`auto` is float16 on CUDA, bfloat16 on a CPU that computes in it, else float32. Raises UsageError.

    The text tower alone stays float32 on a CPU: one query takes milliseconds in either, and in float32 its feature
    does not depend on how the batch was cut (1e-7 of its length, against 2e-3).
    """
    if precision == "auto":
        if device.startswith("cuda"):
            return "float16"
        return "bfloat16" if device == "cpu" and towers != "text" and cpu_has_bfloat16() else "float32"
    if precision not in _DTYPES:
        raise UsageError(
            f"precision {precision!r} is not known",
            allowed=f"auto, {', '.join(_DTYPES)}",
            to_do="use --precision auto",
        )
    return precision


def torch_dtype(precision: str) -> torch.dtype:
    """The torch dtype of a precision's name."""
    return _DTYPES[precision]


def cpu_has_bfloat16() -> bool:
    """True where the CPU multiplies bfloat16 itself (AVX512-BF16 or AMX); elsewhere it is slower than float32."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent from older torch
    return any(probe() for name in probes if (probe := getattr(torch.cpu, name, None)))
