"""Common and rare classes of a pool: counts by hand."""

import numpy as np
import pytest

from mcinterp.diversity.occurrences import alone, class_sizes, effective_number, in_top, surprise

POOL = np.asarray([[0, 0, 1], [0, 2, 3], [4, 1, 0], [5, 0, 2]])


def test_sizes_and_shares_are_those_of_a_count_by_hand() -> None:
    np.testing.assert_array_equal(class_sizes(POOL), [[5, 5, 2], [5, 2, 1], [1, 2, 5], [1, 5, 2]])
    assert in_top(POOL, 1).mean() == pytest.approx(5 / 12)
    assert in_top(POOL, 2).mean() == pytest.approx(7 / 12)
    assert in_top(POOL, 25).all()
    np.testing.assert_array_equal(alone(POOL).sum(axis=1), [0, 1, 1, 1])


def test_good_turing_estimates_the_probability_of_something_new() -> None:
    random, kinds = np.random.default_rng(0), 200
    shares = random.dirichlet(np.full(kinds, 0.4))
    seen = [random.choice(kinds, size=150, p=shares) for _ in range(300)]
    estimate = np.mean([alone(sample).mean() for sample in seen])
    truth = np.mean([shares[np.setdiff1d(np.arange(kinds), sample)].sum() for sample in seen])
    assert estimate == pytest.approx(truth, abs=0.01)


def test_the_effective_number_is_that_of_equal_classes_where_they_are_equal() -> None:
    assert effective_number(np.repeat(np.arange(7), 3)) == pytest.approx(7)
    assert effective_number(np.zeros(5, dtype=int)) == pytest.approx(1)
    shares = np.asarray([5, 2, 2, 1, 1, 1]) / 12
    assert effective_number(POOL) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert surprise(POOL)[0, 0] == pytest.approx(np.log(12 / 5))
