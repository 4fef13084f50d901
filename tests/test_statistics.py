"""Bootstrap over templates and label swaps, on values whose answer is known."""

import numpy as np
import pytest

from mcinterp.statistics import bootstrap, label_swaps, mean_over_prompts


def test_interval_of_the_mean_matches_the_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    interval = bootstrap(values, [str(i) for i in range(400)], draws=2000)
    standard_error = values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_near_copies_of_a_template_do_not_narrow_the_interval() -> None:
    means = np.random.default_rng(1).normal(size=10)
    once = bootstrap(means, [str(i) for i in range(10)], draws=2000)
    copied = bootstrap(np.repeat(means, 50), [str(i // 50) for i in range(500)], draws=2000)
    naive = bootstrap(np.repeat(means, 50), [str(i) for i in range(500)], draws=2000)
    assert copied.high - copied.low == pytest.approx(once.high - once.low)
    assert naive.high - naive.low < 0.3 * (once.high - once.low)


def test_one_template_has_no_interval() -> None:
    interval = bootstrap(np.arange(5.0), ["same"] * 5)
    assert interval.mean == 2.0
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)


def test_missing_values_are_left_out_of_the_mean() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(mean_over_prompts(values), [2.0, 5.0, np.nan])


def test_the_same_seed_gives_the_same_interval() -> None:
    values, groups = np.random.default_rng(2).normal(size=(7, 3)), list("aabbcde")
    first, again, other = (bootstrap(values, groups, draws=40, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.low, again.low)
    assert not np.array_equal(first.high, other.high)


def test_label_swaps_give_every_prompt_of_a_template_one_sign() -> None:
    signs = label_swaps(["a", "b", "a", "c"], draws=200, seed=0)
    assert signs.shape == (200, 4)
    np.testing.assert_array_equal(signs[:, 0], signs[:, 2])
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.15
