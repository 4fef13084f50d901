"""Bootstrap over templates, label swaps and rank correlation, on values whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from mcinterp.statistics import bootstrap, bootstrap_samples, label_swaps, mean_over_prompts, spearman


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


def test_means_of_all_resamples_at_once_are_those_of_a_plain_loop() -> None:
    values = np.random.default_rng(3).normal(size=(11, 2, 3))
    values[[0, 4, 5], 1, 2] = np.nan
    values[:, 0, 1] = np.nan
    groups = list("aabbbcdddde")
    found = bootstrap_samples(values, groups, mean_over_prompts, draws=60, seed=1)
    plain = bootstrap_samples(values, groups, lambda drawn: mean_over_prompts(drawn), draws=60, seed=1)
    np.testing.assert_allclose(found, plain, rtol=1e-12)
    assert np.isnan(found[:, 0, 1]).all()
    values[2, 0, 0] = np.inf
    found = bootstrap_samples(values, groups, mean_over_prompts, draws=60, seed=1)
    assert 0 < np.isinf(found[:, 0, 0]).sum() < 60


def test_spearman_is_that_of_pandas_with_ties_and_missing_values() -> None:
    random = np.random.default_rng(0)
    one = random.integers(0, 4, size=30).astype(float)
    other = one + random.integers(0, 3, size=30)
    other[[3, 8]] = np.nan
    expected = pd.DataFrame({"one": one, "other": other}).corr(method="spearman").iloc[0, 1]
    assert spearman(one, other) == pytest.approx(expected)
    assert spearman(one, one**3) == 1.0
    assert spearman(one, -one) == pytest.approx(-1.0)


def test_spearman_by_hand_and_where_nothing_can_be_said() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 10, 100, 1000])) == 1.0
    assert spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2])) == pytest.approx(0.5)
    assert np.isnan(spearman(np.arange(30.0), np.zeros(30)))
    assert np.isnan(spearman(np.ones(3), np.arange(3.0)))
    assert np.isnan(spearman(np.array([1.0, 2.0]), np.array([3.0, 5.0])))
    assert np.isnan(spearman(np.array([1.0, 2.0, np.nan]), np.array([3.0, 5.0, 7.0])))
