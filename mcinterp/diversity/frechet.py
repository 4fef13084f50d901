"""The Fréchet distance of two sets of features, each taken as one Gaussian: an FID for text (Heusel et al. 2017)."""

import numpy as np
from jaxtyping import Float

Mean = Float[np.ndarray, "feature"]
Covariance = Float[np.ndarray, "feature feature"]
Features = Float[np.ndarray, "sample feature"]


def square_root(matrix: Covariance) -> Covariance:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T


def frechet_distance(mean: Mean, covariance: Covariance, other_mean: Mean, other_covariance: Covariance) -> float:
    """|m - n|^2 + tr(S + T - 2 (S T)^(1/2)), in squared units of the features; 0 for equal moments, symmetric."""
    root = square_root(covariance)
    crossed = np.linalg.eigvalsh(root @ other_covariance @ root).clip(min=0.0)
    spread = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(crossed).sum()
    return float(max(((mean - other_mean) ** 2).sum() + spread, 0.0))


def frechet_distance_of(features: Features, others: Features) -> float:
    """The distance between two sets of samples; biased upwards where they are few, so compare equal numbers."""
    moments = [(each.mean(axis=0), np.cov(each, rowvar=False, bias=True)) for each in (features, others)]
    (mean, spread), (other_mean, other_spread) = moments
    return frechet_distance(mean, np.atleast_2d(spread), other_mean, np.atleast_2d(other_spread))
