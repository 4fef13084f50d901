"""Principal components and k-means clusters of features."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mcinterp.errors import InputError

Features = Float[np.ndarray, "sample feature"]
Centres = Float[np.ndarray, "centre feature"]
ROUNDS = 300


class Components(NamedTuple):
    """Features in their first principal components, and the share of the variance that those hold."""

    values: Float[np.ndarray, "sample component"]
    share: float


def components(features: Features, *, variance: float = 0.9, at_most: int | None = None) -> Components:
    """The fewest principal components that hold `variance` of the features' variance, `at_most` so many.

    The sign of each is that of its largest loading, so that equal features give equal components.
    """
    centred = features - features.mean(axis=0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    shares = scale**2 / max((scale**2).sum(), np.finfo(float).tiny)
    count = min(int(np.searchsorted(np.cumsum(shares), variance - 1e-12)) + 1, len(shares), at_most or len(shares))
    chosen = axes[:count]
    largest = np.abs(chosen).argmax(axis=1)
    chosen = chosen * np.sign(chosen[np.arange(count), largest])[:, None]
    return Components(centred @ chosen.T, float(shares[:count].sum()))


def k_means(features: Features, k: int, *, seed: int = 0, restarts: int = 5) -> Int[np.ndarray, "sample"]:
    """The cluster of every sample (Lloyd 1982, begun by k-means++), the best of some restarts, numbered from 0.

    No cluster is empty. Raises `InputError` where fewer different samples than clusters are given.
    """
    there = len(np.unique(features, axis=0))
    if not 1 <= k <= there:
        raise InputError(f"got k={k} clusters for {there} different samples; give between 1 and as many.")
    random = np.random.default_rng(seed)
    runs = [lloyd(features, spread_out(features, k, random)) for _ in range(restarts)]
    return min(runs, key=lambda run: run[1])[0]


def squared_distances(features: Features, centres: Centres) -> Float[np.ndarray, "sample centre"]:
    """Squared Euclidean distance of every sample from every centre."""
    cross = features @ centres.T
    return ((features**2).sum(axis=1)[:, None] - 2 * cross + (centres**2).sum(axis=1)).clip(min=0.0)


def spread_out(features: Features, k: int, random: np.random.Generator) -> Centres:
    """k samples, each drawn with the square of its distance from those before (Arthur and Vassilvitskii 2007)."""
    chosen = [int(random.integers(len(features)))]
    nearest = ((features - features[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < k:
        chosen.append(int(random.choice(len(features), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, ((features - features[chosen[-1]]) ** 2).sum(axis=1))
    return features[chosen]


def lloyd(features: Features, centres: Centres) -> tuple[Int[np.ndarray, "sample"], float]:
    """Clusters and the sum of squared distances once nothing changes any more."""
    distances = squared_distances(features, centres)
    labels = distances.argmin(axis=1)
    for _ in range(ROUNDS):
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, features)
        counts = np.bincount(labels, minlength=len(centres))
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        distances = squared_distances(features, centres)
        after = with_none_empty(distances, distances.argmin(axis=1))
        if (after == labels).all():
            break
        labels = after
    return labels, float(distances[np.arange(len(labels)), labels].sum())


def with_none_empty(distances: Float[np.ndarray, "sample centre"], labels: np.ndarray) -> np.ndarray:
    """The labels with the sample farthest from its centre put into each empty cluster."""
    labels = labels.copy()
    for empty in np.flatnonzero(np.bincount(labels, minlength=distances.shape[1]) == 0):
        own = distances[np.arange(len(labels)), labels].copy()
        own[np.bincount(labels, minlength=distances.shape[1])[labels] < 2] = -1.0
        labels[own.argmax()] = empty
    return labels
