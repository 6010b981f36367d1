"""The scan gives the products of the rounded query, to the bound that it states."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.searching import scan


@given(sizes=st.lists(st.integers(0, 40), max_size=5), seed=st.integers(0, 1000))
def test_products_are_those_of_all_rows_within_the_stated_error(sizes: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    blocks = [generator.standard_normal((size, 32)) for size in sizes]
    blocks = [(block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16) for block in blocks]
    query = generator.standard_normal(32).astype(np.float32)
    query /= np.linalg.norm(query)
    rows = np.concatenate([np.zeros((0, 32), np.float16), *blocks])
    found = scan.products(blocks, query)
    assert found.shape == (len(rows),) and found.dtype == np.float32
    error = np.abs(found - rows.astype(np.float64) @ query)
    assert (error <= scan.rounding_error(query) * 1.001).all()
    np.testing.assert_allclose(scan.exact_products(rows, query), rows.astype(np.float64) @ query, atol=1e-6)


def test_long_blocks_are_cut_into_strips(monkeypatch) -> None:
    monkeypatch.setattr(scan, "STRIP_ROWS", 7)
    rows = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float16)
    query = np.ones(8, np.float32)
    np.testing.assert_allclose(scan.products([rows, rows], query), np.tile(rows.sum(1), 2), atol=0.05)
