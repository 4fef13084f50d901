"""MAUVE and its frontier against the published package, and Fréchet against Gaussians in closed form."""

from importlib import import_module

import numpy as np
import pytest

from mcinterp.diversity.clusters import k_means
from mcinterp.diversity.frechet import frechet_distance, frechet_distance_of
from mcinterp.diversity.frontier import frontier, frontier_integral, mauve
from mcinterp.diversity.information import histograms

P = np.asarray([5, 3, 0, 2, 7, 1]) / 18
Q = np.asarray([1, 0, 4, 2, 6, 2]) / 15


def test_values_are_those_of_mauve_text() -> None:
    assert mauve(P, Q) == pytest.approx(0.3356615137, abs=1e-9)  # mauve-text 0.4.0
    assert frontier_integral(P, Q) == pytest.approx(0.2754963977, abs=1e-9)
    assert mauve(P, Q) == pytest.approx(mauve(Q, P))


def test_the_package_agrees() -> None:
    package = import_module("mauve.compute_mauve")
    curve = package.get_divergence_curve_for_multinomials(P, Q, np.linspace(1e-6, 1 - 1e-6, 25), 5)
    np.testing.assert_allclose(np.sort(frontier(P, Q), axis=0), np.sort(curve, axis=0), atol=1e-12)
    assert frontier_integral(P, Q) == pytest.approx(package.get_fronter_integral(P, Q))


def test_clusters_of_features_give_the_packages_score() -> None:
    random = np.random.default_rng(0)
    sets = [
        np.concatenate([random.normal(c, 0.01, (n, 3)) for c, n in zip(np.eye(3) * 3, counts, strict=True)])
        for counts in ((20, 12, 8), (5, 15, 20))
    ]
    labels = k_means(np.concatenate(sets), 3).reshape(2, 40)
    assert mauve(*histograms(labels, 3)) == pytest.approx(0.6988204753, abs=1e-9)  # mauve-text 0.4.0, 3 buckets


def test_equal_and_disjoint_shares_are_the_ends() -> None:
    assert mauve(P, P) == pytest.approx(1)
    assert frontier_integral(P, P) == 0
    one, other = np.asarray([0.4, 0.6, 0, 0]), np.asarray([0, 0, 0.5, 0.5])
    assert frontier_integral(one, other) == pytest.approx(1)
    assert mauve(one, other) < 0.05


def test_the_integral_is_the_integral() -> None:
    w = (np.arange(20000) + 0.5) / 20000
    r = w[:, None] * P + (1 - w[:, None]) * Q

    def kl(shares: np.ndarray) -> np.ndarray:
        there = shares > 0
        return (shares[there] * np.log(shares[there] / r[:, there])).sum(axis=1)

    assert frontier_integral(P, Q) == pytest.approx(2 * np.mean(w * kl(P) + (1 - w) * kl(Q)), abs=1e-6)


def test_gaussians_along_axes_are_at_their_known_distance() -> None:
    s, t = np.asarray([4.0, 1.0, 9.0]), np.asarray([1.0, 1.0, 16.0])
    m, n = np.asarray([1.0, 0.0, 2.0]), np.asarray([0.0, 0.0, 5.0])
    expected = 1 + 9 + ((np.sqrt(s) - np.sqrt(t)) ** 2).sum()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = frechet_distance(turn @ m, turn @ np.diag(s) @ turn.T, turn @ n, turn @ np.diag(t) @ turn.T)
    assert turned == pytest.approx(expected)
    assert frechet_distance(m, np.diag(s), m, np.diag(s)) == pytest.approx(0, abs=1e-9)


def test_samples_of_one_distribution_come_closer_the_more_there_are() -> None:
    random = np.random.default_rng(0)
    near = [frechet_distance_of(*random.normal(size=(2, n, 5))) for n in (50, 5000)]
    assert near[1] < near[0] / 5
    assert near[1] < 0.05
