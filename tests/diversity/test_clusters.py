"""Components and clusters: blobs are found, variance is kept, and order does not matter."""

import numpy as np
import pytest

from mcinterp.diversity.clusters import components, k_means, lloyd, squared_distances
from mcinterp.errors import InputError

CENTRES = np.asarray([[0.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9], [9, 9, 9]])


def blobs() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    which = random.permutation(np.repeat(np.arange(5), [3, 7, 11, 13, 17]))
    return CENTRES[which] + random.normal(scale=0.3, size=(51, 3)), which


def test_blobs_are_found() -> None:
    features, which = blobs()
    labels = k_means(features, 5)
    assert len(set(zip(labels.tolist(), which.tolist(), strict=True))) == 5
    assert sorted(np.bincount(labels).tolist()) == [3, 7, 11, 13, 17]


def test_every_sample_is_with_its_nearest_centre_and_no_cluster_is_empty() -> None:
    features = np.random.default_rng(2).normal(size=(60, 2))
    labels = k_means(features, 7)
    centres = np.stack([features[labels == n].mean(axis=0) for n in range(7)])
    np.testing.assert_array_equal(squared_distances(features, centres).argmin(axis=1), labels)
    assert set(labels.tolist()) == set(range(7))


def test_an_empty_cluster_takes_the_farthest_sample() -> None:
    features = np.asarray([[0.0], [0.1], [0.2], [5.0]])
    labels, _ = lloyd(features, np.asarray([[0.0], [100.0]]))
    np.testing.assert_array_equal(labels, [0, 0, 0, 1])


def test_components_keep_distances_and_the_variance_asked_for() -> None:
    features, _ = blobs()
    whole = components(features, variance=1.0)
    np.testing.assert_allclose(squared_distances(whole.values, whole.values),
                               squared_distances(features, features), atol=1e-8)  # fmt: skip
    few = components(features, variance=0.5)
    variances = np.sort(np.linalg.eigvalsh(np.cov(features.T)))[::-1]
    assert few.share == pytest.approx(variances[: few.values.shape[1]].sum() / variances.sum())
    assert few.values.shape[1] == int(np.searchsorted(np.cumsum(variances) / variances.sum(), 0.5)) + 1
    assert components(features, variance=1.0, at_most=2).values.shape == (51, 2)


def test_more_clusters_than_samples_are_refused() -> None:
    with pytest.raises(InputError, match="got k=3 clusters for 2 different samples"):
        k_means(np.asarray([[1.0], [2.0], [2.0]]), 3)
