"""Is a stage the base tempered over whole texts? Log-probabilities and entropies of futures in, exponents out.

A distribution over texts tempered as a whole, q(y) ∝ p(y)^gamma, has the next-token distribution

    log q(t) = gamma log p(t) + (1 - gamma) H_gamma(future | t) + a constant of the prefix,

with H_gamma(f) = log(sum p(f)^gamma) / (1 - gamma) the Rényi entropy of what the base writes after t: for gamma > 1 it
favours tokens that lead to sure futures, so that it predicts attractors (Yang and Holtzman 2025). Tempering every token
for itself has no second term. Both are one regression over the branches of prefixes, an intercept a prefix: the slope
of H must be 1 minus that of log p, at the order that the slope of log p is.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

Branches = Float[np.ndarray, "*prefix branch"]
Futures = Float[np.ndarray, "*prefix branch order"]
Sums = Float[np.ndarray, "*prefix order product"]

ORDERS = np.geomspace(0.25, 8.0, 31)
SHANNON = 1e-6
DEGENERATE = 1e-9


class Fit(NamedTuple):
    """The regression at the order that is its own slope of log p.

    `order` and `slope_log_prob` are that gamma, `slope_future` the slope of H_gamma, predicted `1 - slope_log_prob`;
    `r2` and `r2_without_future` are shares of the variance of log q within prefixes. `consistent` says whether there is
    such an order between the least and the largest that was tried; else the nearest to it is taken.
    """

    order: float
    slope_log_prob: float
    slope_future: float
    r2: float
    r2_without_future: float
    consistent: bool

    @property
    def beyond_prediction(self) -> float:
        """slope_future - (1 - slope_log_prob): 0 for a sequence tempering, beta - 1 for tempered tokens."""
        return self.slope_future - (1.0 - self.slope_log_prob)


def renyi_entropy(log_probs: Float[np.ndarray, "*any outcome"], order: float) -> Float[np.ndarray, "*any"]:
    """H_order in nats of distributions given whole on the last axis; Shannon's at order 1."""
    return entropy_of_power_sum(log_sum_exp(order * log_probs), log_probs, np.exp(log_probs), order)


def sampled_renyi_entropy(log_probs: Float[np.ndarray, "outcome"], drawn: int, order: float) -> float:
    """H_order in nats from the log-probabilities of the different outcomes among `drawn` samples.

    sum p^order is estimated without bias by weighting every outcome seen with 1 / P(it is seen) (Horvitz and Thompson
    1952): exact once all outcomes were seen, and the mean of p^(order - 1) over the samples where none is seen twice.
    At order 1 the same weights estimate -sum p log p.
    """
    seen = -np.expm1(drawn * np.log1p(-np.minimum(np.exp(log_probs), 1.0 - 1e-12)))
    weights = np.exp(log_probs) / seen
    return float(entropy_of_power_sum(log_sum_exp(order * log_probs - np.log(seen)), log_probs, weights, order))


def entropy_of_power_sum(power_sum: np.ndarray, log_probs: np.ndarray, weights: np.ndarray, order: float) -> np.ndarray:
    """H_order from log sum p^order; Shannon's from the weighted mean of -log p at order 1."""
    if abs(order - 1.0) < SHANNON:
        return np.asarray(-(weights * np.where(weights > 0, log_probs, 0.0)).sum(axis=-1))
    return np.asarray(power_sum / (1.0 - order))


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """log sum exp over the last axis."""
    top = values.max(axis=-1, keepdims=True)
    return np.asarray((top + np.log(np.exp(values - top).sum(axis=-1, keepdims=True)))[..., 0])


def sequence_tempered(log_p: Branches, future: Branches, order: float) -> Branches:
    """log q of the next token where whole texts are tempered: p^order exp((1 - order) H_order), normalised."""
    return normalised(order * log_p + (1.0 - order) * future)


def token_tempered(log_p: Branches, beta: float) -> Branches:
    """log q of the next token where tokens are tempered: p^beta, normalised."""
    return normalised(beta * log_p)


def normalised(scores: Branches) -> Branches:
    """Log-probabilities from scores."""
    return scores - log_sum_exp(scores)[..., None]


def product_sums(log_q: Branches, log_p: Branches, future: Futures) -> Sums:
    """Sums over the branches of every prefix of the products of its centred values, at every order.

    In the order pp, ph, hh, pq, hq, qq (p: log p, h: H, q: log q). Branches with a missing value count for nothing, and
    neither does a prefix with fewer than two: its intercept says all.
    """
    there = ~(np.isnan(log_q) | np.isnan(log_p) | np.isnan(future).any(axis=-1))
    p, q = (centred(values[..., None], there) for values in (log_p, log_q))
    h = centred(future, there)
    products = (p * p, p * h, h * h, p * q, h * q, q * q)
    return np.stack([np.broadcast_to(each, h.shape).sum(axis=-2) for each in products], axis=-1)


def centred(values: Futures, there: Bool[np.ndarray, "*prefix branch"]) -> Futures:
    """Values minus their mean over a prefix's branches, 0 where one is missing."""
    kept = np.where(there[..., None], values, 0.0)
    mean = kept.sum(axis=-2, keepdims=True) / np.maximum(there.sum(axis=-1), 1)[..., None, None]
    return np.where(there[..., None], kept - mean, 0.0)


def fit(sums: Float[np.ndarray, "order product"], orders: Float[np.ndarray, "order"] = ORDERS) -> Fit:
    """The regression of log q on log p and H, from sums of products over all prefixes.

    Slopes are missing where log p does not vary within any prefix, and that of H where H does not vary apart from it.
    """
    pp, ph, hh, pq, hq, qq = sums.T
    determinant = pp * hh - ph * ph
    known = determinant > DEGENERATE * np.maximum(pp * hh, DEGENERATE)
    scale = np.where(known, determinant, np.nan)
    alone = pq / np.where(pp > DEGENERATE, pp, np.nan)
    slope_p = np.where(known, (pq * hh - hq * ph) / scale, alone)
    slope_h = (hq * pp - pq * ph) / scale
    place, consistent = own_order(slope_p, orders)

    def at(values: np.ndarray) -> float:
        return float(np.interp(place, np.arange(len(orders)), values)) if np.isfinite(place) else float("nan")

    explained = np.where(known, slope_p * pq + np.nan_to_num(slope_h) * hq, alone * pq)
    whole = np.where(qq > DEGENERATE, qq, np.nan)
    return Fit(at(orders), at(slope_p), at(slope_h), at(explained / whole), at(alone * pq / whole), consistent)


def own_order(slopes: Float[np.ndarray, "order"], orders: Float[np.ndarray, "order"]) -> tuple[float, bool]:
    """The place (between indices) where the slope of log p is the order itself, and whether there is one."""
    apart = slopes - orders
    if not np.isfinite(apart).all():
        return float("nan"), False
    crossings = np.flatnonzero(apart[:-1] * apart[1:] <= 0)
    if not len(crossings):
        return float(np.abs(apart).argmin()), False
    first = min(crossings, key=lambda n: abs(apart[n]) + abs(apart[n + 1]))
    step = apart[first] / (apart[first] - apart[first + 1]) if apart[first] != apart[first + 1] else 0.0
    return float(first + step), True
