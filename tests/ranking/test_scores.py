from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtrcli.errors import InputError, UsageError
from vtrcli.ranking.scores import DenseScores, TakenTexts, Transposed, VectorScores, held, tile_edge, tiles

GENERATOR = np.random.default_rng(0)


def unit(num_rows: int, dim: int) -> np.ndarray:
    rows = GENERATOR.standard_normal((num_rows, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_dense_blocks_are_parts_of_the_matrix() -> None:
    matrix = GENERATOR.random((5, 7), dtype=np.float32)
    source = DenseScores(matrix)
    assert source.shape == (5, 7)
    np.testing.assert_array_equal(source.block(slice(1, 3), slice(2, 6)), matrix[1:3, 2:6])
    np.testing.assert_array_equal(source.block(np.array([4, 0]), slice(0, 7)), matrix[[4, 0]])


@pytest.mark.parametrize(("given_dtype", "used"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8")])
def test_precision_is_never_lost(given_dtype: str, used: str) -> None:
    source = DenseScores(np.ones((2, 2), given_dtype))
    assert source.dtype == used
    assert source.block(slice(0, 2), slice(0, 2)).dtype == used


@pytest.mark.parametrize("dtype", ["i4", "?", "O", "c8"])
def test_only_floating_point_is_read(dtype: str) -> None:
    with pytest.raises(InputError, match="an array of dtype .*; float16, float32 or float64 is read;"):
        DenseScores(np.ones((2, 2), dtype))


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2), (0, 3), (3, 0)])
def test_only_filled_matrices_are_read(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError, match=r"an array of shape \(.*\); similarities and vectors have two dimensions"
    ):
        DenseScores(np.zeros(shape))


def test_nan_names_its_row() -> None:
    matrix = np.zeros((2000, 700), np.float32)
    matrix[1700, 3] = np.nan
    with pytest.raises(
        InputError, match="row 1700 of the similarity matrix holds NaN at column 3; every score must be"
    ):
        DenseScores(matrix).bound()


def test_half_precision_overflow_gets_its_own_advice() -> None:
    matrix = np.full((2, 2), 7.0, np.float16)
    matrix[1, 0] = np.inf
    with pytest.raises(
        InputError, match=r"row 1 .* holds infinity .*half precision ends at 65504: save the scores as"
    ):
        DenseScores(matrix).bound()


def test_the_bound_is_the_largest_absolute_score() -> None:
    assert DenseScores(np.array([[0.5, -3.0], [1.0, 2.0]])).bound() == 3.0
    assert VectorScores(2 * unit(3, 8), unit(4, 8)).bound() == pytest.approx(2)


def test_a_vector_that_is_not_finite_is_named() -> None:
    vectors = unit(3, 8)
    vectors[2, 5] = np.inf
    with pytest.raises(InputError, match="row 2 of the video vectors holds infinity"):
        VectorScores(unit(2, 8), vectors).bound()


def test_products_that_overflow_are_refused() -> None:
    huge = np.full((2, 4), 1e20, np.float32)
    with pytest.raises(InputError, match="the largest inner product holds infinity"):
        VectorScores(huge, huge).bound()


def test_vectors_of_different_models_are_refused() -> None:
    with pytest.raises(
        InputError, match="text vectors of length 8 and video vectors of length 9; both must have"
    ):
        VectorScores(unit(2, 8), unit(2, 9))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 299),
    st.integers(1, 300),
    st.integers(0, 299),
    st.integers(1, 300),
    st.sampled_from([3, 64, 512]),
)
def test_a_product_has_the_same_bits_in_every_block(
    row: int, rows: int, column: int, columns: int, dim: int
) -> None:
    source = VectorScores(unit(300, dim), unit(300, dim))
    whole = source.block(slice(0, 300), slice(0, 300))
    block = source.block(slice(row, min(300, row + rows)), slice(column, min(300, column + columns)))
    np.testing.assert_array_equal(block, whole[row : row + rows, column : column + columns])


def test_equal_vectors_tie_exactly_wherever_they_stand() -> None:
    videos = np.repeat(unit(1, 512), 700, axis=0)
    scores = VectorScores(unit(200, 512), videos).block(slice(0, 200), slice(0, 700))
    assert (scores == scores[:, :1]).all()


def test_half_precision_vectors_are_multiplied_in_single_precision() -> None:
    texts, videos = unit(5, 16).astype(np.float16), unit(6, 16).astype(np.float16)
    block = VectorScores(texts, videos).block(slice(0, 5), slice(0, 6))
    assert block.dtype == np.float32
    np.testing.assert_allclose(block, texts.astype(np.float64) @ videos.T.astype(np.float64), atol=1e-6)


def test_mapped_vectors_are_multiplied_as_others(tmp_path: Path) -> None:
    vectors = unit(70, 16)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = VectorScores(np.load(tmp_path / "vectors.npy", mmap_mode="r"), vectors)
    whole = slice(0, 70)
    np.testing.assert_array_equal(
        mapped.block(whole, whole), VectorScores(vectors, vectors).block(whole, whole)
    )


def test_taken_and_transposed_views() -> None:
    matrix = GENERATOR.random((4, 3))
    source = DenseScores(matrix)
    taken = TakenTexts(source, np.array([2, 0]))
    np.testing.assert_array_equal(taken.block(slice(0, 2), slice(1, 3)), matrix[[2, 0], 1:3])
    turned = Transposed(source)
    assert turned.shape == (3, 4)
    np.testing.assert_array_equal(turned.block(slice(1, 3), slice(0, 4)), matrix.T[1:3])
    both = TakenTexts(turned, np.array([1]))
    np.testing.assert_array_equal(both.block(slice(0, 1), slice(0, 4)), matrix.T[[1]])


@pytest.mark.parametrize("edge", [1, 3, 16, 2048])
def test_tiles_are_the_whole_source_once_with_the_columns_in_order(edge: int) -> None:
    matrix = GENERATOR.random((9, 7))
    for source, whole in ((DenseScores(matrix), matrix), (Transposed(DenseScores(matrix)), matrix.T)):
        found, next_column = np.full(whole.shape, np.nan), np.zeros(len(whole), np.int64)
        for tile in tiles(source, edge=edge):
            assert (next_column[tile.rows] == tile.columns.start).all()
            next_column[tile.rows] = tile.columns.stop
            found[tile.rows, tile.columns] = tile.scores
        np.testing.assert_array_equal(found, whole)


def test_products_are_held_where_they_fit_with_the_same_bits() -> None:
    source = VectorScores(unit(150, 16), unit(90, 16))
    enough = 4 * (150 * 90 + 8 * 64 * 64)
    matrix = held(source, edge=64, memory_bytes=enough)
    whole = slice(0, 150), slice(0, 90)
    assert isinstance(matrix, DenseScores)
    np.testing.assert_array_equal(matrix.block(*whole), source.block(*whole))
    assert held(source, edge=64, memory_bytes=enough - 1) is source
    assert held(matrix, edge=64, memory_bytes=enough) is matrix


def test_a_limit_halves_the_block_until_it_fits() -> None:
    source = DenseScores(np.zeros((1, 1), np.float32))
    edges = [tile_edge(source, memory_bytes=size) for size in (1 << 30, 1 << 27, (1 << 27) - 1, 131072)]
    assert edges == [2048, 2048, 1024, 64]


def test_a_limit_below_the_smallest_block_is_refused() -> None:
    with pytest.raises(
        UsageError, match="a memory limit of 131071 bytes; the smallest block needs 131072 bytes; raise"
    ):
        tile_edge(DenseScores(np.zeros((1, 1), np.float32)), memory_bytes=131071)


def test_a_mapped_file_is_read_by_blocks(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    np.save(path, GENERATOR.random((2000, 1000), dtype=np.float32))
    source = DenseScores(np.load(path, mmap_mode="r"))
    tracemalloc.start()
    source.block(slice(0, 100), slice(0, 100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
    np.testing.assert_array_equal(source.block(slice(5, 6), slice(0, 1000)), np.load(path)[5:6])


def test_a_view_of_a_mapped_file_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "scores.npy"
    matrix = GENERATOR.random((20, 10))
    np.save(path, matrix)
    view = np.load(path, mmap_mode="r")[5:]
    np.testing.assert_array_equal(DenseScores(view).block(slice(0, 2), slice(0, 10)), matrix[5:7])
