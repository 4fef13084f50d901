"""Exponential tilting: the smooth convex problem behind every temperature, solved for many rows at once.

A distribution p tilted by features f is p_theta(v) ∝ exp(theta · f(v)). Of that family the member nearest to q in
KL(q || p_theta) is the one whose mean features are q's (Csiszár 1975, I-projection; Barndorff-Nielsen 1978). With the
features centred at q's means it is the minimum of the dual D(theta) = log sum_v exp(theta · f(v)), which is convex,
has the gradient E_theta[f] and the Hessian Cov_theta[f], and KL(q || p_theta) = D(theta) - H(q). All in float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int

Parameters = Float[torch.Tensor, "problem feature"]
Hessians = Float[torch.Tensor, "problem feature feature"]
Values = Float[torch.Tensor, "problem"]
Which = Int[torch.Tensor, "problem"]
Features = Float[torch.Tensor, "row feature vocabulary"]

CAP = 50.0
MOMENT_TOLERANCE = 1e-10
MET = 1e-8
SHORTEST_STEP = 2.0**-40
SUFFICIENT = 1e-4
ROUNDING = 1e-14
TINY = 1e-300
MOST_STEPS = 400


class Dual(NamedTuple):
    """Value (nats), gradient and Hessian of the dual of some problems."""

    value: Values
    gradient: Parameters
    hessian: Hessians


class Tilt(NamedTuple):
    """The minimum of each problem in the box |theta| <= cap.

    `value` is the dual there, `gap` the largest difference of a mean feature from q's, in nats, and `capped` marks the
    problems where that condition is not met because a parameter stands at the cap (there may be no root at all).
    """

    theta: Parameters
    value: Values
    gap: Values
    capped: Bool[torch.Tensor, "problem"]


Oracle = Callable[[Parameters, Which], Dual]


def dual(features: Features, theta: Float[torch.Tensor, "row feature"]) -> Dual:
    """The dual of each row at its own parameters."""
    exponent = torch.bmm(theta[:, None], features)[:, 0]
    largest = exponent.amax(dim=-1, keepdim=True)
    weights = exponent.sub_(largest).exp_()
    total = weights.sum(dim=-1, keepdim=True)
    weights /= total
    gradient = torch.bmm(features, weights[:, :, None])[:, :, 0]
    second = torch.bmm(features * weights[:, None], features.mT)
    return Dual((largest + total.log())[:, 0], gradient, second - gradient[:, :, None] * gradient[:, None])


def tilt(features: Features, start: Float[torch.Tensor, "row feature"], *, cap: float = CAP) -> Tilt:
    """The tilt of every row whose mean features are zero, from `start` on."""

    def of_rows(theta: Parameters, which: Which) -> Dual:
        return dual(features if len(which) == len(features) else features[which], theta)

    return minimise(of_rows, start, cap=cap)


def minimise(oracle: Oracle, start: Parameters, *, cap: float = CAP) -> Tilt:
    """The minimum of smooth convex functions over |theta| <= cap, all problems at once.

    Projected Newton steps (Bertsekas 1982), halved until the value falls enough, for each problem until its gradient
    is below 1e-10 or float64 gives no better. `oracle(theta, which)` gives the functions numbered `which`.
    """
    theta = start.clone().clamp(-cap, cap)
    here = oracle(theta, torch.arange(len(theta), device=theta.device))
    step, length = newton_step(theta, here, cap), torch.ones_like(here.value)
    for _ in range(MOST_STEPS):
        open_ = (free_gradient(theta, here.gradient, cap) > MOMENT_TOLERANCE) & (length > SHORTEST_STEP)
        which = open_.nonzero()[:, 0]
        if len(which) == 0:
            break
        trial = (theta[which] + length[which, None] * step[which]).clamp(-cap, cap)
        there = oracle(trial, which)
        falls = (here.gradient[which] * (trial - theta[which])).sum(dim=-1)
        slack = ROUNDING * (1.0 + here.value[which].abs())
        better = there.value <= here.value[which] + SUFFICIENT * falls.clamp(max=0.0) + slack
        length[which] = torch.where(better, 1.0, length[which] / 2)
        taken = which[better]
        theta[taken] = trial[better]
        for old, new in zip(here, there, strict=True):
            old[taken] = new[better]
        step[taken] = newton_step(theta[taken], Dual(*(part[taken] for part in here)), cap)
    gap = here.gradient.abs().amax(dim=-1)
    return Tilt(theta, here.value, gap, gap > MET)


def free_gradient(theta: Parameters, gradient: Parameters, cap: float) -> Values:
    """The largest slope that a step inside the box can still follow."""
    return gradient.masked_fill(binding(theta, gradient, cap), 0.0).abs().amax(dim=-1)


def binding(theta: Parameters, downhill: Parameters, cap: float) -> Bool[torch.Tensor, "problem feature"]:
    """Parameters at the cap that a step against `downhill` would push out of the box."""
    return ((theta >= cap) & (downhill < 0)) | ((theta <= -cap) & (downhill > 0))


def newton_step(theta: Parameters, here: Dual, cap: float) -> Parameters:
    """The step of the parameters that are free to move: -(Hessian + ridge)^-1 gradient.

    The ridge, |gradient| / (2 cap), keeps a step within the box's width where the Hessian vanishes (p_theta all on one
    token) and fades as the minimum nears, so that convergence stays quadratic.
    """
    held = binding(theta, here.gradient, cap)
    step = solve(here, held, cap)
    outward = binding(theta, -step, cap)
    return solve(here, held | outward, cap) if bool((outward & ~held).any()) else step


def solve(here: Dual, held: Bool[torch.Tensor, "problem feature"], cap: float) -> Parameters:
    """-(Hessian + ridge)^-1 gradient with some parameters held."""
    gradient = here.gradient.masked_fill(held, 0.0)
    hessian = here.hessian.masked_fill(held[:, :, None] | held[:, None], 0.0)
    trace = hessian.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True)
    ridge = gradient.norm(dim=-1, keepdim=True) / (2.0 * cap) + ROUNDING * trace + TINY
    return -torch.linalg.solve(hessian + torch.diag_embed(ridge + held.double()), gradient)
