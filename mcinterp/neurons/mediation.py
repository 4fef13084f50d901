"""How much of a neuron's effect goes through the final norm's scale, over prompts, on datasets alone."""

import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import derived
from mcinterp.statistics import bootstrap, mean_over_prompts

LEAST_EFFECT = 1e-4


def mediated_share(ablated: xr.Dataset, metric: str = "entropy", *, draws: int = 500, seed: int = 0) -> xr.Dataset:
    """The share of each neuron's effect that the final norm's scale mediates, from `neuron_effects`.

    Over `stage, unit`: `effect`, the mean total effect (ablated minus clean, the metric's unit), and `mediated_share`
    = 1 - mean |direct effect| / mean |total effect| over prompts (after Stolfo et al. 2024): 1 where nothing is left
    once the scale is frozen, 0 where all is, negative where the scale works against it; missing for a mean |total
    effect| below 1e-4. Both with 95 % intervals by bootstrap over templates.

    Raises `InputError` for a metric that was not read.
    """
    if f"{metric}_direct" not in ablated:
        known = [str(name).removesuffix("_direct") for name in ablated if str(name).endswith("_direct")]
        raise InputError(f"metric {metric!r} was not read; give one of {', '.join(known)}.")
    parts = [ablated[f"{metric}_{kind}"].transpose("prompt", "stage", "unit").values for kind in ("effect", "direct")]
    values, templates = np.stack(parts, axis=1).astype(float), ablated["template"].values.tolist()
    found, dims = {}, ("stage", "unit")
    mean = bootstrap(values[:, 0], templates, draws=draws, seed=seed)
    share = bootstrap(np.abs(values), templates, one_minus_ratio, draws=draws, seed=seed)
    for name, interval in (("effect", mean), ("mediated_share", share)):
        found |= {key: (dims, value.astype(np.float32)) for key, value in interval.named(name).items()}
    kept = {name: ablated[name] for name in ("stage", "unit", "layer", "neuron")}
    return derived(xr.Dataset(found, coords=kept), ablated, analysis="mediated_share", metric=metric, draws=draws)


def one_minus_ratio(values: np.ndarray) -> np.ndarray:
    """1 - mean direct / mean total of values over prompt and (total, direct)."""
    total, direct = mean_over_prompts(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total >= LEAST_EFFECT, 1.0 - direct / total, np.nan)
