"""The divergence frontier of two histograms, MAUVE and the frontier integral (Pillutla et al. 2021, 2023).

`p` and `q` are the shares of two sets of samples over the same clusters. Along the frontier stand the mixtures
r = w p + (1 - w) q; one end of it says how much of q is unlike p, the other how much of p is unlike q.
"""

import numpy as np
from jaxtyping import Float

Shares = Float[np.ndarray, "cluster"]
SCALE, POINTS = 5.0, 25


def divergences(shares: Shares, mixtures: Float[np.ndarray, "point cluster"]) -> Float[np.ndarray, "point"]:
    """KL(shares || each mixture), in nats."""
    present = shares > 0
    return (shares[present] * np.log(shares[present] / mixtures[:, present])).sum(axis=1)


def frontier(p: Shares, q: Shares, *, scale: float = SCALE, points: int = POINTS) -> Float[np.ndarray, "point 2"]:
    """(exp(-c KL(q || r)), exp(-c KL(p || r))) along the mixtures, from (1, 0) to (0, 1); c is `scale`."""
    weights = np.linspace(1e-6, 1 - 1e-6, points)[:, None]
    mixtures = weights * p + (1 - weights) * q
    inner = np.exp(-scale * np.stack([divergences(q, mixtures), divergences(p, mixtures)], axis=1))
    return np.concatenate([[[1.0, 0.0]], inner, [[0.0, 1.0]]])


def mauve(p: Shares, q: Shares, *, scale: float = SCALE, points: int = POINTS) -> float:
    """The area under the frontier: 1 for equal shares, towards 0 the less they have in common; symmetric."""
    x, y = frontier(p, q, scale=scale, points=points).T
    return float(((y[1:] + y[:-1]) / 2 * -np.diff(x)).sum())


def frontier_integral(p: Shares, q: Shares) -> float:
    """2 * the integral over w in [0, 1] of w KL(p || r) + (1 - w) KL(q || r): 0 for equal shares, 1 for disjoint ones.

    In closed form (Liu et al. 2021); it has no constant to choose.
    """
    both = (p > 0) & (q > 0) & (p != q)
    one, other = p[both], q[both]
    shared = (one + other) / 2 - one * other * (np.log(one) - np.log(other)) / (one - other)
    return float(shared.sum() + p[q == 0].sum() / 2 + q[p == 0].sum() / 2)
