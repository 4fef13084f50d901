"""How much of a gap growing sets of features move, over prompts, on the dataset of `patch_features` alone."""

import numpy as np
import xarray as xr

from mcinterp.effects import DRAWS, effects
from mcinterp.results import derived

LEAST_PROMPTS = 0.9
SHARES = ("share", "share_low", "share_high")


def feature_curve(
    patched: xr.Dataset, metric: str = "attractor_log_odds", *, draws: int = DRAWS, seed: int = 0
) -> xr.Dataset:
    """What the sets of every size do to a metric over prompts, beside the controls and the whole place.

    Over `direction, size`: `effect` and `share` (of the gap between the ends) with 95 % intervals over templates (see
    `mcinterp.effects.effects`); `site_share` with its interval, the mean effect over that of the plain patch of the
    place (missing below 0.1 nats); `random_features` and `random_direction`, shares of the gap with intervals, of means
    over draws (missing where less than 90 % of the prompts have such a set). Over `direction, whole`: `whole_share`,
    the share of the gap that the place, all features, or the error alone move. `gap` over `direction`.
    """
    ends = [f"{metric}_donor", f"{metric}_recipient"]
    own = patched[[metric, *ends]]
    found = effects(own, metric, draws=draws, seed=seed)
    site = own.assign({ends[0]: patched[f"{metric}_whole"].sel(whole="site", drop=True)})
    at = effects(site, metric, draws=draws, seed=seed)
    found = found.assign({f"site_{name}": at[name].variable for name in SHARES})
    for control in patched["control"].values.tolist():
        mean = patched[f"{metric}_control"].sel(control=control, drop=True).mean("draw")
        mean = mean.where(mean.notnull().mean("prompt") >= LEAST_PROMPTS)
        found = found.assign(shares(patched[ends].assign({metric: mean}), metric, control, draws, seed))
    whole = patched[ends].assign({metric: patched[f"{metric}_whole"]})
    found = found.assign(shares(whole, metric, "whole_share", draws, seed)).assign_coords(whole=patched["whole"])
    found = found.map(lambda values: values.astype(np.float32))
    return derived(found, patched, analysis="feature_curve", metric=metric, draws=draws, seed=seed)


def shares(values: xr.Dataset, metric: str, name: str, draws: int, seed: int) -> dict[str, xr.Variable]:
    """Shares of the gap with their interval under another name."""
    found = effects(values, metric, draws=draws, seed=seed)
    return {each.replace("share", name): found[each].variable for each in SHARES}
