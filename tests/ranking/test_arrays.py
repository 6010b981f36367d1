from __future__ import annotations

import numpy as np
import pytest

from vtrcli.errors import UsageError
from vtrcli.ranking.arrays import NumpyArrays, TorchArrays, arrays_for, block_edge


def test_a_limit_halves_the_block_until_it_fits() -> None:
    edges = [
        block_edge(NumpyArrays(), memory_bytes=size, item_bytes=4)
        for size in (1 << 30, 1 << 27, (1 << 27) - 1, 131072)
    ]
    assert edges == [2048, 2048, 1024, 64]


def test_a_limit_below_the_smallest_block_is_refused() -> None:
    with pytest.raises(
        UsageError, match="a memory limit of 131071 bytes; the smallest block needs 131072 bytes; raise"
    ):
        block_edge(NumpyArrays(), memory_bytes=131071, item_bytes=4)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(
        UsageError, match=f"device '{device}'; an evaluation runs on cpu, auto, mps, or a CUDA device"
    ):
        arrays_for(device)


def test_ranks_are_counted_on_the_cpu_where_the_model_runs_on_apples_gpu() -> None:
    assert isinstance(arrays_for("mps"), NumpyArrays)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_largest_of_each_group(axis: int) -> None:
    values = np.random.default_rng(0).random((7, 7))
    parts = np.split(values, [1, 4], axis=axis)
    wanted = np.stack([part.max(axis=axis) for part in parts], axis=axis)
    for arrays in (NumpyArrays(), TorchArrays("cpu")):
        found = arrays.group_maxima(arrays.put(values), np.array([0, 1, 4]), axis)
        np.testing.assert_array_equal(arrays.get(found), wanted)


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_largest(k: int, axis: int) -> None:
    values = np.random.default_rng(0).random((8, 8))
    wanted = np.flip(np.sort(values, axis=axis), axis=axis)
    for arrays in (NumpyArrays(), TorchArrays("cpu")):
        found = np.sort(arrays.get(arrays.largest(arrays.put(values), k, axis)), axis=axis)
        np.testing.assert_array_equal(np.flip(found, axis=axis), wanted[:k] if axis == 0 else wanted[:, :k])
