"""The verdict, on datasets alone: one site, two redundant ones, two that need each other, or spread out.

What one component does when the base's weights replace it in the tuned stage (necessity) and what it does alone in the
base (sufficiency) tell these apart, and no attribution that shares effects out can: a site that makes the collapse by
itself is both; of two redundant sites each is sufficient and neither necessary; of two joint ones each is necessary and
neither sufficient.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from mcinterp.localisation.thresholds import Thresholds
from mcinterp.statistics import mean_over_prompts

NONE, LOCALISED, REDUNDANT, JOINT, DISTRIBUTED = "none", "localised", "redundant", "joint", "distributed"
VERDICTS: tuple[str, ...] = (NONE, LOCALISED, REDUNDANT, JOINT, DISTRIBUTED)
DRAWS = 200
Scores = Mapping[str, float]


class Verdict(NamedTuple):
    """What was found, which sites it names, and how large the interaction of two of them is (share of the collapse)."""

    name: str
    sites: tuple[str, ...]
    interaction: float


class Table(NamedTuple):
    """Effects over prompt and column, in nats: components one by one, then pairs; with the whole gap of each prompt."""

    necessity: np.ndarray
    sufficiency: np.ndarray
    gap: np.ndarray
    names: list[tuple[str, ...]]


def table_of(evidence: xr.Dataset, pairs: xr.Dataset) -> Table:
    """Single components and pairs side by side."""
    single = [
        evidence[f"graft_{kind}"].transpose("prompt", "component").values for kind in ("necessity", "sufficiency")
    ]
    double = [pairs[kind].transpose("prompt", "pair").values for kind in ("necessity", "sufficiency")]
    both = [np.concatenate(each, axis=1).astype(float) for each in zip(single, double, strict=True)]
    couples = list(zip(pairs["first"].values.tolist(), pairs["second"].values.tolist(), strict=True))
    names = [(name,) for name in evidence["component"].values.tolist()] + couples
    return Table(both[0], both[1], evidence["log_odds_gap"].values.astype(float), names)


def verdict(table: Table, scores: Scores, limits: Thresholds = Thresholds()) -> Verdict:
    """The verdict of all prompts; `scores` are shares of the collapse by component, best first.

    Localised: one site makes the collapse, both ways, and does at least twice what any other does. Redundant or joint:
    two sites with a good share each make it together, both ways, and do much less or much more alone than their sum.
    Else localised where one site so far ahead makes it on average over both ways, and distributed where there is none.
    """
    gap = mean_over_prompts(table.gap)
    both = zip(mean_over_prompts(table.necessity) / gap, mean_over_prompts(table.sufficiency) / gap, strict=True)
    shares = {name: (float(n), float(s)) for name, (n, s) in zip(table.names, both, strict=True)}
    ahead = [name for name in shares if len(name) == 1 and stands_out(shares, name)]
    alone = [name for name in ahead if min(shares[name]) >= limits.makes]
    if alone:
        return Verdict(LOCALISED, alone[0], 0.0)
    couples = {name: interaction(shares, name) for name in shares if len(name) == 2}
    partners = [name for name in couples if min(scores[site] for site in name) >= limits.partner]
    telling = [name for name in partners if tells(shares, name, couples[name], limits)]
    if telling:
        pair = max(telling, key=lambda name: min(shares[name]))
        in_order = tuple(name for name in scores if name in pair)
        return Verdict(REDUNDANT if couples[pair] < 0 else JOINT, in_order, couples[pair])
    if ahead and sum(shares[ahead[0]]) >= 2 * limits.makes:
        return Verdict(LOCALISED, ahead[0], 0.0)
    return Verdict(DISTRIBUTED, tuple(scores)[:3], 0.0)


Shares = dict[tuple[str, ...], tuple[float, float]]


def stands_out(shares: Shares, site: tuple[str, ...]) -> bool:
    """Whether a site does, over both ways, at least twice what any other single site does."""
    others = [sum(share) for name, share in shares.items() if len(name) == 1 and name != site]
    return sum(shares[site]) > 0 and all(sum(shares[site]) >= 2 * other for other in others)


def interaction(shares: Shares, pair: tuple[str, ...]) -> float:
    """What two sites do together beyond what they do one by one, as a share of the collapse, over both ends.

    In the base, M(both) - M(first) - M(second) + M(neither); in the tuned stage the same, which is what undoing either
    does minus what undoing both does. Negative where one is enough, positive where both are needed, 0 where they add.
    """
    (n1, s1), (n2, s2), (n, s) = shares[pair[:1]], shares[pair[1:]], shares[pair]
    return ((s - s1 - s2) + (n1 + n2 - n)) / 2


def tells(shares: Shares, pair: tuple[str, ...], together: float, limits: Thresholds) -> bool:
    """Whether two sites make the collapse together, interact, and each do much at the end where single sites show.

    That end is the base for redundant sites (each brings it) and the tuned stage for joint ones (each undoes it).
    """
    if min(shares[pair]) < limits.makes or abs(together) < limits.interaction:
        return False
    end, least = (1, limits.brings) if together < 0 else (0, limits.undoes)
    return min(shares[(site,)][end] for site in pair) >= least


def support(
    table: Table, scores: Scores, templates: list[str], limits: Thresholds, *, seed: int = 0
) -> dict[str, float]:
    """By verdict, the share of resamples of whole templates in which it comes out."""
    members = [np.flatnonzero(np.asarray(templates) == name) for name in dict.fromkeys(templates)]
    random, counts = np.random.default_rng(seed), dict.fromkeys(VERDICTS[1:], 0)
    for pick in random.integers(len(members), size=(DRAWS, len(members))):
        rows = np.concatenate([members[i] for i in pick])
        drawn = table._replace(
            necessity=table.necessity[rows], sufficiency=table.sufficiency[rows], gap=table.gap[rows]
        )
        counts[verdict(drawn, scores, limits).name] += 1
    return {name: count / DRAWS for name, count in counts.items()}
