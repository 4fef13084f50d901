"""How random a distribution over a support is: arrays in, plain arrays out; the last axis is the value.

A value that does not belong to the support is missing (NaN) and counts for nothing; N is the number of the others.
`shares` sum to one over the support.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mcinterp.statistics import spearman

Shares = Float[np.ndarray, "*batch value"]
Value = Float[np.ndarray, "*batch"] | np.floating


class Conditional(NamedTuple):
    """The distribution given that the answer is in the support, and the probability that it is."""

    shares: Shares
    on_support: Value


def conditional(log_probs: Shares) -> Conditional:
    """Split log-probabilities of the values into their shares and their sum."""
    top = np.nanmax(log_probs, axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    weights = np.exp(log_probs - top)
    total = np.nansum(weights, axis=-1, keepdims=True)
    shares = np.divide(weights, total, out=np.full_like(weights, np.nan), where=(total > 0) & ~np.isnan(weights))
    return Conditional(shares, (total * np.exp(top))[..., 0])


def n_values(shares: Shares) -> Value:
    """N, the number of values of the support."""
    return (~np.isnan(shares)).sum(axis=-1).astype(float)


def uniform(shares: Shares) -> Shares:
    """The uniform distribution over the same supports."""
    size = (~np.isnan(shares)).sum(axis=-1, keepdims=True)
    return np.where(np.isnan(shares), np.nan, 1.0 / np.maximum(size, 1))


def entropy(shares: Shares) -> Value:
    """H = -sum q log q in nats, between 0 and log N."""
    terms = shares * np.log(np.where(shares > 0, shares, 1.0))
    return np.where(n_values(shares) > 0, -np.nansum(terms, axis=-1), np.nan)


def entropy_share(shares: Shares) -> Value:
    """H / log N, in [0, 1]; 1 is uniform."""
    return entropy(shares) / np.log(n_values(shares))


def kl_to_uniform(shares: Shares) -> Value:
    """KL(q || uniform) = log N - H, in nats."""
    return np.log(n_values(shares)) - entropy(shares)


def total_variation_to_uniform(shares: Shares) -> Value:
    """Half the sum of |q - 1/N|, in [0, 1 - 1/N]."""
    return total_variation(shares, uniform(shares))


def total_variation(q: Shares, p: Shares) -> Value:
    """Half the sum of |q - p|, symmetric, in [0, 1]; missing where no value has both."""
    apart = np.abs(q - p)
    return np.where(np.isnan(apart).all(axis=-1), np.nan, np.nansum(apart, axis=-1) / 2)


def chi_square(shares: Shares, draws: int) -> Value:
    """Pearson's statistic against uniform of `draws` draws that fall exactly as the shares say: n (N sum q^2 - 1).

    0 for a uniform distribution (where a real sample gives N - 1 on average), n (N - 1) for one value always; it grows
    with `draws`, so state them. A sample's statistic is this plus N (1 - sum q^2) on average.
    """
    size = n_values(shares)
    return draws * np.where(size > 0, size * np.nansum(shares**2, axis=-1) - 1.0, np.nan)


def favourite(shares: Shares) -> Int[np.ndarray, "*batch"]:
    """Index of the value with the largest share, the first of equals; -1 where the support is empty."""
    best = np.where(np.isnan(shares), -1.0, shares).argmax(axis=-1)
    return np.where(n_values(shares) > 0, best, -1)


def between(
    shares: Float[np.ndarray, "prompt value"], groups: Sequence[object]
) -> tuple[Float[np.ndarray, "prompt"], Float[np.ndarray, "prompt"]]:
    """How far each prompt's distribution agrees with those of the other prompts of its group.

    The mean Spearman correlation with each of the others, and the mean total variation to them; missing for a prompt
    alone in its group. Orders of a nearly flat distribution are noise: read the two together.
    """
    order, apart = np.full(len(shares), np.nan), np.full(len(shares), np.nan)
    for index, group in enumerate(groups):
        others = [other for other, its in enumerate(groups) if its == group and other != index]
        if others:
            pairs = [spearman(shares[index], shares[other]) for other in others]
            order[index] = np.nanmean(pairs) if np.isfinite(pairs).any() else np.nan
            apart[index] = total_variation(shares[[index] * len(others)], shares[others]).mean()
    return order, apart


def autocorrelation(
    last: Float[np.ndarray, "*any"], expected: Float[np.ndarray, "*any"], variance: Float[np.ndarray, "*any"]
) -> float:
    """Correlation of the last number with the next, over contexts: the next one's mean and variance are known exactly.

    cov(last, E[next]) / sqrt(var(last) (E[var(next)] + var(E[next]))), by the law of total covariance; missing
    contexts count for nothing, and the whole is missing where either number never varies.
    """
    there = ~(np.isnan(last) | np.isnan(expected) | np.isnan(variance))
    if there.sum() < 3:
        return float("nan")
    x, mean, spread = last[there], expected[there], variance[there]
    scale = x.var() * (spread.mean() + mean.var())
    return float(((x - x.mean()) * mean).mean() / np.sqrt(scale)) if scale > 1e-12 else float("nan")
