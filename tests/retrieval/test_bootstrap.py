from __future__ import annotations

import itertools

import numpy as np
import pytest

from vtrcli.errors import InputError
from vtrcli.retrieval.bootstrap import means_ci95, paired_test


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    """Golden: 48 % of 1000 queries, normal approximation 48 +- 1.96 x 1.58."""
    hits = np.repeat([100.0, 0.0], [480, 520])[:, None]
    ((low, high),) = means_ci95(hits, num_bootstrap=20_000)
    assert low == pytest.approx(44.9, abs=0.2)
    assert high == pytest.approx(51.1, abs=0.2)


def test_a_constant_has_no_width() -> None:
    assert means_ci95(np.full((10, 1), 7.0)) == [(7.0, 7.0)]


def test_the_p_value_is_that_of_all_sign_flips() -> None:
    a = np.array([1, 5, 2, 8, 3, 3, 9, 2], np.float64)
    b = np.array([1, 2, 1, 4, 3, 4, 3, 1], np.float64)
    differences = b - a
    observed = abs(differences.sum())
    flips = [
        abs((differences * signs).sum()) >= observed for signs in itertools.product((1, -1), repeat=len(a))
    ]
    test = paired_test(a, b, num_permutations=50_000)
    assert test.p_value == pytest.approx(np.mean(flips), abs=0.01)
    assert test.difference == pytest.approx(differences.mean())
    assert test.difference_ci95[0] < test.difference < test.difference_ci95[1]


def test_equal_results_differ_with_p_1() -> None:
    values = np.array([0.0, 1.0, 1.0])
    test = paired_test(values, values)
    assert (test.difference, test.p_value) == (0.0, 1.0)


def test_a_clear_difference_has_the_smallest_p_value() -> None:
    assert paired_test(np.zeros(200), np.ones(200), num_permutations=999).p_value == 1 / 1000


def test_the_sides_swap() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(50), generator.random(50)
    assert paired_test(a, b).difference == -paired_test(b, a).difference


def test_different_numbers_of_queries_are_refused() -> None:
    with pytest.raises(InputError, match="2 and 3 queries; a paired test needs the same queries"):
        paired_test(np.zeros(2), np.zeros(3))
