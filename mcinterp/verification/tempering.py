"""A plain temperature as strong as an edit: where the tuned stage has the edit's mean entropy."""

from math import exp, log
from typing import NamedTuple

from mcinterp.verification.bench import values_at
from mcinterp.weights.scalar import SCALARS, Judged

CAP = 20.0
NARROW = 1e-8


class Match(NamedTuple):
    """A temperature, and whether it stands at a cap because none within it gives the entropy that was asked for."""

    temperature: float
    capped: bool


def matching_temperature(judged: Judged, entropy: float, *, cap: float = CAP) -> Match:
    """The temperature at which the later stage's mean entropy over prompts is the given one (nats), by bisection.

    Entropy grows with temperature (d H / d log T is the variance of log q under q^(1/T)), so there is one at most. It
    is sought between 1 / cap and cap, on distributions that are there already.
    """

    def excess(place: float) -> float:
        metrics = {"entropy": SCALARS["entropy"]}
        return float(values_at(judged, judged.later, exp(place), metrics)["entropy"].mean()) - entropy

    low, high = -log(cap), log(cap)
    if excess(high) < 0:
        return Match(cap, True)
    if excess(low) > 0:
        return Match(1 / cap, True)
    while high - low > NARROW:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return Match(exp((low + high) / 2), False)
