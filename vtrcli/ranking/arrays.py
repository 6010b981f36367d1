"""NumPy on the CPU, torch on a GPU: the functions that both have under one name are used through `xp`.

On the CPU NumPy does all but the products: its element-wise functions are as fast as torch's on two cores, its `log`
four times faster, they give an element the same bits wherever it stands, and a matrix needs no torch.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np

from vtrcli.errors import UsageError

# Larger products are no faster; on a busy machine smaller ones are much slower (measured: 512 takes three times
# as long as 2048 with a load of 7 on two cores, and as long without).
_PREFERRED_EDGE = {"cpu": 2048, "cuda": 8192}
_SMALLEST_EDGE = 64
# Arrays of one block that are alive at once, operands and masks included.
_BLOCKS_ALIVE = 8


class Arrays(Protocol):
    """Where the blocks lie and how to compute with them. `xp` is the module numpy or torch."""

    xp: Any
    kind: Literal["cpu", "cuda"]

    def put(self, array: np.ndarray) -> Any:
        """Bring an array here."""

    def get(self, array: Any) -> np.ndarray:
        """Bring an array back."""

    def largest(self, values: Any, k: int, axis: int) -> Any:
        """The k largest along `axis`, in any order."""

    def group_maxima(self, values: Any, starts: np.ndarray, axis: int) -> Any:
        """The largest of each group along `axis`; groups lie side by side and begin at `starts`, the first at 0."""


class NumpyArrays:
    """Everything stays where it is."""

    xp: Any = np
    kind: Literal["cpu", "cuda"] = "cpu"

    def put(self, array: np.ndarray) -> Any:
        """The array itself."""
        return array

    def get(self, array: Any) -> np.ndarray:
        """The array itself."""
        return np.asarray(array)

    def largest(self, values: Any, k: int, axis: int) -> Any:
        """The k largest along `axis`, in any order."""
        if k == 1:
            return values.max(axis=axis, keepdims=True)
        start = values.shape[axis] - k
        parts = np.partition(values, start, axis=axis)
        return parts[start:] if axis == 0 else parts[:, start:]

    def group_maxima(self, values: Any, starts: np.ndarray, axis: int) -> Any:
        """The largest of each group."""
        return np.maximum.reduceat(values, starts, axis=axis)


class TorchArrays:
    """Tensors on `device`. TF32 stays off (torch's default), or equal vectors would get unequal scores."""

    kind: Literal["cpu", "cuda"] = "cuda"

    def __init__(self, device: str) -> None:
        import torch

        self.xp: Any = torch
        self._device = device

    def put(self, array: np.ndarray) -> Any:
        """A tensor on the device."""
        return self.xp.as_tensor(np.array(array)).to(self._device)

    def get(self, array: Any) -> np.ndarray:
        """Back on the CPU."""
        result: np.ndarray = array.cpu().numpy()
        return result

    def largest(self, values: Any, k: int, axis: int) -> Any:
        """The k largest along `axis`, in any order."""
        return values.topk(k, dim=axis).values

    def group_maxima(self, values: Any, starts: np.ndarray, axis: int) -> Any:
        """The largest of each group."""
        sizes = np.diff(starts, append=values.shape[axis])
        groups = self.put(np.repeat(np.arange(len(starts)), sizes))
        shape = (len(starts), values.shape[1]) if axis == 0 else (values.shape[0], len(starts))
        index = (groups[:, None] if axis == 0 else groups[None, :]).expand(values.shape)
        return values.new_full(shape, -np.inf).scatter_reduce_(axis, index, values, "amax")


def arrays_for(device: str) -> Arrays:
    """The backend of `cpu`, `cuda`, `cuda:N`, or `auto`: a CUDA GPU if there is one.

    `mps` is the CPU: ranks need sums in float64, which Apple's GPUs do not have; the model may still run there.

    Raises:
        UsageError: another device, or no such GPU.
    """
    if device == "cpu" or device.startswith("mps"):
        return NumpyArrays()
    if device == "auto" or device.startswith("cuda"):
        import torch

        index = device.partition(":")[2] or "0"
        if index.isdigit() and torch.cuda.is_available() and int(index) < torch.cuda.device_count():
            return TorchArrays(f"cuda:{index}")
        if device == "auto":
            return NumpyArrays()
    raise UsageError(
        f"device {device!r}",
        allowed="an evaluation runs on cpu, auto, mps, or a CUDA device of this machine (cuda, cuda:1)",
        to_do="use --device cpu",
    )


def block_edge(arrays: Arrays, *, memory_bytes: int, item_bytes: int) -> int:
    """Rows and columns of a block: the largest power of two that keeps the blocks alive within `memory_bytes`.

    Raises:
        UsageError: not even the smallest block fits.
    """
    edge = _PREFERRED_EDGE[arrays.kind]
    while edge >= _SMALLEST_EDGE and _BLOCKS_ALIVE * edge * edge * item_bytes > memory_bytes:
        edge //= 2
    if edge < _SMALLEST_EDGE:
        smallest = _BLOCKS_ALIVE * _SMALLEST_EDGE**2 * item_bytes
        raise UsageError(
            f"a memory limit of {memory_bytes} bytes",
            allowed=f"the smallest block needs {smallest} bytes",
            to_do="raise the limit",
        )
    return edge
