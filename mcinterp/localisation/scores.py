"""From evidence to one ranking, on datasets alone: shares of the collapse with intervals over templates."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from mcinterp.effects import labels, prompts_first
from mcinterp.localisation.evidence import KINDS
from mcinterp.results import derived
from mcinterp.statistics import bootstrap, mean_over_prompts

WEIGHTS: Mapping[str, float] = {
    "update": 1.0,
    "graft_necessity": 0.5,
    "graft_sufficiency": 0.5,
}
LEAST_GAP = 0.1


def site_scores(
    evidence: xr.Dataset, weights: Mapping[str, float] = WEIGHTS, *, draws: int = 1000, seed: int = 0
) -> xr.Dataset:
    """One score for every component, best first: the weighted mean of what each kind of evidence says of it.

    Over `component`: `score`, the share of the collapse in log-odds (mean effect over mean gap, averaged over the kinds
    that reach the component), with its 95 % interval over templates `ci_low`, `ci_high`; `<kind>_share`, the share
    by every kind of evidence; `graft_entropy_share`, the share of lost entropy that base weights bring back.
    """
    kinds = [kind for kind in KINDS if kind in evidence]
    values = np.stack([prompts_first(evidence[kind]).values for kind in kinds], axis=1).astype(float)
    gap = np.broadcast_to(evidence["log_odds_gap"].values.astype(float)[:, None, None], values.shape)
    both = np.stack([values, np.where(np.isnan(values), np.nan, gap)], axis=1)
    templates = evidence["template"].values.tolist()
    combined = bootstrap(both, templates, combining(kinds, weights), draws=draws, seed=seed)
    data = dict(zip(("score", "ci_low", "ci_high"), combined, strict=True))
    data |= {f"{kind}_share": share for kind, share in zip(kinds, shares_of(both), strict=True)}
    lost = float(evidence["entropy_gap"].mean())
    data["graft_entropy_share"] = -evidence["graft_entropy"].mean("prompt").values / lost
    found = xr.Dataset(
        {name: ("component", each.astype(np.float32)) for name, each in data.items()},
        coords=labels(evidence["update"], ("component",)),
    )
    best_first = np.argsort(-found["score"].values, kind="stable")
    return derived(found.isel(component=best_first), evidence, analysis="site_scores", draws=draws, seed=seed)


def combining(kinds: list[str], weights: Mapping[str, float]) -> Callable[[np.ndarray], np.ndarray]:
    """The score of every component as a statistic of values over prompt, (effect, gap), kind and component."""
    column = np.asarray([weights.get(kind, 0.0) for kind in kinds])[:, None]

    def score(both: np.ndarray) -> np.ndarray:
        shares = shares_of(both)
        counted = np.where(np.isnan(shares), 0.0, column)
        return (np.nan_to_num(shares) * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1e-12)

    return score


def shares_of(both: np.ndarray) -> np.ndarray:
    """Mean effect over mean gap, over kind and component; missing where the gap is nearly nothing."""
    effect, gap = mean_over_prompts(both)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(gap) >= LEAST_GAP, effect / gap, np.nan)
