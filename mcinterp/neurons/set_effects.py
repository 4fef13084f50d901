"""What patching sets of neurons does over prompts, on the dataset of `mcinterp.neurons.comparison` alone."""

import xarray as xr

from mcinterp.effects import DRAWS, beside_random, effects
from mcinterp.results import derived

ENDS = ("donor", "recipient")


def set_effects(
    compared: xr.Dataset, metric: str = "attractor_log_odds", *, draws: int = DRAWS, seed: int = 0
) -> xr.Dataset:
    """What patching the sets does to a metric over prompts, beside the random sets.

    Over `direction, kind`: `effect` and `share` of the set with 95 % intervals over templates (see
    `mcinterp.effects.effects`), and those of the random sets (see `mcinterp.effects.beside_random`).
    """
    wanted = [metric, *(f"{metric}_{end}" for end in ENDS)]
    found = beside_random(effects(compared[wanted], metric, draws=draws, seed=seed), "draw")
    return derived(found, compared, analysis="set_effects", metric=metric, draws=draws, seed=seed)
