"""Calibration by bins of confidence: arrays in, numbers out."""

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, "token"]
Binned = Float[np.ndarray, "part bin"]


def binned(confidence: Values, accuracy: Values, bins: int) -> Binned:
    """Per bin of equal width the share of tokens, and the sums of confidence and accuracy over all tokens' number.

    Confidence is the probability of what is held most likely; accuracy is 0 or 1, or the true probability of it where
    that is known. All 0 without a token.
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    parts = [
        np.bincount(place, weights, minlength=bins) for weights in (np.ones_like(confidence), confidence, accuracy)
    ]
    return np.stack(parts) / max(len(confidence), 1)


def calibration_error(parts: Float[np.ndarray, "*any part bin"]) -> Float[np.ndarray, "*any"]:
    """ECE: the mean distance of accuracy from confidence over bins, weighed by their tokens (Guo et al. 2017)."""
    return np.abs(parts[..., 1, :] - parts[..., 2, :]).sum(axis=-1)


def overconfidence(parts: Float[np.ndarray, "*any part bin"]) -> Float[np.ndarray, "*any"]:
    """Mean confidence minus mean accuracy: above 0 where a stage is surer than it is right."""
    return (parts[..., 1, :] - parts[..., 2, :]).sum(axis=-1)
