"""Measures of randomness against known values, plain loops and other libraries."""

import math

import numpy as np
import pandas as pd
import pytest

from mcinterp.behaviour.randomness import measures
from mcinterp.statistics import spearman

NATS = math.log(2)


def peaked(top: float, size: int) -> np.ndarray:
    """One value with a share of `top`, the others equal: the largest entropy that such a top share allows."""
    return np.asarray([top, *[(1 - top) / (size - 1)] * (size - 1)])


def some(*shape: int, seed: int = 0) -> np.ndarray:
    """Random shares."""
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), size=shape[:-1])


def test_a_uniform_distribution_is_as_random_as_can_be() -> None:
    flat = np.full((2, 101), 1 / 101)
    np.testing.assert_allclose(measures.entropy(flat), math.log(101))
    np.testing.assert_allclose(measures.entropy_share(flat), 1.0)
    for distance in (measures.kl_to_uniform(flat), measures.total_variation_to_uniform(flat)):
        np.testing.assert_allclose(distance, 0.0, atol=1e-12)
    np.testing.assert_allclose(measures.chi_square(flat, 1000), 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("top", "size", "bits"), [(0.70, 101, 2.87), (0.10, 101, 6.45), (0.73, 6, 1.47)], ids=["97", "flat", "die"]
)
def test_the_entropies_of_the_posts_figures(top: float, size: int, bits: float) -> None:
    shares = peaked(top, size)
    assert float(measures.entropy(shares)) / NATS == pytest.approx(bits, abs=0.01)
    assert float(measures.kl_to_uniform(shares)) == pytest.approx(math.log(size) - bits * NATS, abs=0.01)


def test_one_value_always() -> None:
    shares = np.eye(7)[3]
    assert float(measures.entropy(shares)) == 0.0
    assert float(measures.total_variation_to_uniform(shares)) == pytest.approx(6 / 7)
    assert float(measures.chi_square(shares, 50)) == pytest.approx(50 * 6)


def test_chi_square_is_pearsons_and_a_samples_is_larger_by_what_is_said() -> None:
    shares, draws = some(5), 40
    counts, expected = draws * shares, draws / 5
    assert float(measures.chi_square(shares, draws)) == pytest.approx(((counts - expected) ** 2 / expected).sum())
    samples = np.random.default_rng(1).multinomial(draws, shares, size=200_000)
    mean = ((samples - expected) ** 2 / expected).sum(axis=1).mean()
    assert mean == pytest.approx(float(measures.chi_square(shares, draws)) + 5 * (1 - (shares**2).sum()), rel=0.01)


def test_values_outside_the_support_count_for_nothing() -> None:
    shares = some(2, 5)
    padded = np.insert(shares, [1, 3, 5], np.nan, axis=-1)
    for measure in (
        measures.entropy, measures.entropy_share, measures.kl_to_uniform, measures.total_variation_to_uniform,
        lambda q: measures.chi_square(q, 10), measures.n_values,
    ):  # fmt: skip
        np.testing.assert_allclose(measure(padded), measure(shares))
    empty = np.full((1, 4), np.nan)
    assert np.isnan(measures.entropy(empty)).all()
    assert measures.favourite(empty).tolist() == [-1]


def test_the_conditional_distribution_of_tiny_probabilities() -> None:
    logs = np.asarray([-900.0, -901.0, np.nan, -np.inf])
    found = measures.conditional(logs)
    weights = np.exp([0.0, -1.0])
    np.testing.assert_allclose(found.shares[:2], weights / weights.sum())
    assert np.isnan(found.shares[2])
    assert found.shares[3] == 0.0
    assert found.on_support == 0.0
    assert float(measures.conditional(np.log([0.1, 0.3])).on_support) == pytest.approx(0.4)


def test_total_variation_is_half_the_sum() -> None:
    q, p = some(2, 3, 7), some(2, 3, 7, seed=1)
    np.testing.assert_allclose(measures.total_variation(q, p), np.abs(q - p).sum(-1) / 2)
    assert float(measures.total_variation(np.eye(3)[0], np.eye(3)[2])) == 1.0


def test_agreement_between_wordings_leaves_a_prompt_itself_out() -> None:
    shares = some(4, 5)
    order, apart = measures.between(shares, ["a", "b", "a", "a"])
    assert order[0] == pytest.approx(np.mean([spearman(shares[0], shares[n]) for n in (2, 3)]))
    assert apart[2] == pytest.approx(np.mean([np.abs(shares[2] - shares[n]).sum() / 2 for n in (0, 3)]))
    assert np.isnan([order[1], apart[1]]).all()


def test_autocorrelation_is_that_of_the_joint_distribution() -> None:
    numbers = np.asarray([1.0, 2.0, 5.0])
    following = some(3, 3)
    joint = pd.DataFrame(
        [(x, y, following[i, j] / 3) for i, x in enumerate(numbers) for j, y in enumerate(numbers)],
        columns=["x", "y", "p"],
    )
    centred = joint[["x", "y"]] - (joint[["x", "y"]].mul(joint["p"], axis=0)).sum()
    covariance = centred.T @ centred.mul(joint["p"], axis=0)
    expected = covariance.loc["x", "y"] / math.sqrt(covariance.loc["x", "x"] * covariance.loc["y", "y"])
    mean = following @ numbers
    variance = following @ numbers**2 - mean**2
    assert measures.autocorrelation(numbers, mean, variance) == pytest.approx(expected)
    assert math.isnan(measures.autocorrelation(numbers, np.full(3, 4.0), np.zeros(3)))
