"""Mutual information: known tables, one attractor for all, and nothing by chance alone."""

import numpy as np
import pytest

from mcinterp.diversity.information import chance_parts, histograms, information_parts, mutual_information


def test_separate_basins_say_which_prompt_it_was_and_one_attractor_says_nothing() -> None:
    apart = np.repeat(np.arange(5)[:, None], 8, axis=1)
    assert information_parts(apart).mean() == pytest.approx(np.log(5))
    assert information_parts(np.zeros((5, 8), dtype=int)).mean() == 0
    assert mutual_information(np.zeros((5, 8), dtype=int)) == 0


def test_the_mean_is_the_mutual_information_of_the_joint_table() -> None:
    labels = np.asarray([[0, 0, 1, 2], [1, 1, 1, 2], [0, 2, 2, 2]])
    joint = histograms(labels, 3) / 3
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    expected = sum(j * np.log(j / o) for j, o in zip(joint.ravel(), outer.ravel(), strict=True) if j > 0)
    assert information_parts(labels).mean() == pytest.approx(expected)


def test_what_few_samples_show_by_chance_is_taken_off() -> None:
    random = np.random.default_rng(0)
    draws = [random.integers(20, size=(10, 8)) for _ in range(20)]
    assert np.mean([information_parts(each).mean() for each in draws]) > 0.5
    assert np.mean([mutual_information(each, draws=50) for each in draws]) == pytest.approx(0, abs=0.02)


def test_missing_samples_and_prompts_stay_out() -> None:
    labels = np.asarray([[0, 1, -1], [-1, -1, -1], [1, 1, 1]])
    np.testing.assert_allclose(histograms(labels, 2), [[0.5, 0.5], [np.nan, np.nan], [0, 1]])
    assert np.isnan(information_parts(labels)[1])
    assert np.isnan(chance_parts(labels, draws=3)[1])
