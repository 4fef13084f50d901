"""Dose and response of a direction over prompts, on the dataset of `mcinterp.direction.steering.steer` alone."""

import xarray as xr

from mcinterp.effects import DRAWS, beside_random, effects
from mcinterp.results import derived


def dose_response(steered: xr.Dataset, metric: str = "entropy", *, draws: int = DRAWS, seed: int = 0) -> xr.Dataset:
    """What each dose does to a metric over prompts, beside the random directions.

    Over `operation, coefficient`: `effect`, the mean of steered minus unsteered (the metric's unit), and `share`, that
    over the mean gap to the other stage's unsteered run, with 95 % intervals over templates (`mcinterp.effects`), and
    those of the random directions (`mcinterp.effects.beside_random`); `gap` over `operation`.
    """
    along = steered.rename(control="draw")
    found = beside_random(effects(along, metric, draws=draws, seed=seed), "draw")
    return derived(found, steered, analysis="dose_response", metric=metric, draws=draws, seed=seed)
