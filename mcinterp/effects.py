"""Effects of patched sites over prompts, on datasets alone: means with intervals, beside the controls.

Everything here works on the dataset of `mcinterp.intervene.patching.patch`, without a model.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import derived
from mcinterp.statistics import bootstrap, mean_over_prompts

DRAWS = 500
LEAST_GAP = 0.1
CELL_AXES = ("component", "site", "layer", "head", "position", "read_at")
FIGURES = ("effect", "effect_low", "effect_high", "share", "share_low", "share_high")
PREFERRED = ("attractor_log_odds", "attractor_log_prob", "entropy", "kl_to_donor")
CONTROLS = ("noop", "random", "shuffled")


def main_metric(patched: xr.Dataset) -> str:
    """The metric by which cells are ranked: log-odds of the attractor where they were read, else what comes next.

    Where none of the library's own was read it is the first of the caller's.
    """
    found = [*(name for name in PREFERRED if name in patched), *metrics_of(patched)]
    if not found:
        raise InputError(f"the dataset has none of {', '.join(PREFERRED)} to rank cells by; patch with one of them.")
    return found[0]


def metrics_of(patched: xr.Dataset) -> list[str]:
    """The metrics that were read on patched runs and at both ends."""
    names = [str(name).removesuffix("_donor") for name in patched.data_vars if str(name).endswith("_donor")]
    return [name for name in names if name in patched and f"{name}_recipient" in patched]


def effects(
    patched: xr.Dataset, metric: str = "attractor_log_odds", *, draws: int = DRAWS, seed: int = 0
) -> xr.Dataset:
    """What patching each cell does to a metric, over prompts.

    Over `direction, site, layer` (and `head`, `position`, `read_at`): `effect`, the mean of patched minus unpatched
    recipient (the metric's unit); `share`, the mean effect over the mean gap between the ends (missing for a mean gap
    below 0.1; unlike a mean of single recoveries it gives prompts with a small gap little weight); both with 95 %
    intervals by bootstrap over templates; `<control>`, the mean effect of every control; and over `direction`, `gap`,
    the mean of donor minus recipient.

    Raises `InputError` for a metric that was not read.
    """
    if metric not in metrics_of(patched):
        raise InputError(f"metric {metric!r} was not read; give one of {', '.join(metrics_of(patched)) or 'none'}.")
    templates = patched["template"].values.tolist()
    effect = prompts_first(patched[metric] - patched[f"{metric}_recipient"])
    ends = prompts_first(patched[f"{metric}_donor"] - patched[f"{metric}_recipient"])
    gap = ends.broadcast_like(effect).transpose(*effect.dims).where(effect.notnull())
    both = np.stack([effect.values, gap.values], axis=1).astype(float)
    dims, found = effect.dims[1:], {}
    mean = bootstrap(both[:, 0], templates, draws=draws, seed=seed)
    share = bootstrap(both, templates, share_of_gap, draws=draws, seed=seed)
    for name, interval in (("effect", mean), ("share", share)):
        found |= {
            name: (dims, interval.mean),
            f"{name}_low": (dims, interval.low),
            f"{name}_high": (dims, interval.high),
        }
    found["gap"] = (ends.dims[1:], mean_over_prompts(ends.values.astype(float)))
    for control in patched["control"].values.tolist() if "control" in patched.dims else []:
        change = patched[f"{metric}_control"].sel(control=control, drop=True) - patched[f"{metric}_recipient"]
        found[control] = (dims, mean_over_prompts(prompts_first(change).transpose(*effect.dims).values.astype(float)))
    dataset = xr.Dataset(
        {name: (d, v.astype(np.float32)) for name, (d, v) in found.items()}, coords=labels(effect, dims)
    )
    return derived(dataset, patched, analysis="effects", metric=metric, draws=draws, seed=seed)


def first_read(found: xr.Dataset) -> xr.Dataset:
    """The dataset at its first read position, without that axis."""
    return found if "read_at" not in found.dims else found.isel(read_at=0, drop=True)


def prompts_first(values: xr.DataArray) -> xr.DataArray:
    """Values with the prompt axis first, the others in their order."""
    return values.transpose("prompt", ...)


def labels(values: xr.DataArray, dims: tuple[Hashable, ...]) -> dict[Hashable, xr.DataArray]:
    """The coordinates that lie along some dimensions."""
    return {name: coord for name, coord in values.coords.items() if coord.dims and set(coord.dims) <= set(dims)}


def share_of_gap(both: np.ndarray) -> np.ndarray:
    """Mean effect over mean gap of values over prompt and (effect, gap)."""
    effect, gap = mean_over_prompts(both)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(gap) >= LEAST_GAP, effect / gap, np.nan)


def interaction(
    patched: xr.Dataset, metric: str = "attractor_log_odds", *, draws: int = DRAWS, seed: int = 0
) -> xr.Dataset:
    """Mean interaction at every boundary with its 95 % interval over templates; axes `pair`, `layer`, `read_at`."""
    values = prompts_first(patched[f"{metric}_interaction"])
    found = bootstrap(values.values.astype(float), patched["template"].values.tolist(), draws=draws, seed=seed)
    names, dims = ("interaction", "interaction_low", "interaction_high"), values.dims[1:]
    data = {name: (dims, end.astype(np.float32)) for name, end in zip(names, found, strict=True)}
    return derived(xr.Dataset(data, coords=labels(values, dims)), patched, analysis="interaction", metric=metric)


def strongest(found: xr.Dataset, direction: str, count: int) -> list[dict[str, Any]]:
    """The cells with the largest effect in one direction, largest first, as plain entries."""
    table = found.sel(direction=direction, drop=True).to_dataframe().reset_index()
    kept = [name for name in (*CELL_AXES, *FIGURES, *CONTROLS) if name in table]
    rows = zip(*(table[name].tolist() for name in kept), strict=True)
    entries = [dict(zip(kept, row, strict=True)) for row in rows]
    entries = [entry for entry in entries if np.isfinite(entry["effect"])]
    return sorted(entries, key=lambda entry: -abs(entry["effect"]))[:count]


def beside_random(found: xr.Dataset, along: str) -> xr.Dataset:
    """Effects of the first entry along a dimension, beside those of the others, which are random stand-ins for it.

    Adds `random_effect` and `random_share`, means over the stand-ins, with the smallest and largest of them as `_low`
    and `_high`, and `random_above`, the share of all entries whose effect is at least as large as the first's (the
    first is counted, so it is never 0: a permutation p-value).
    """
    own, random = found.isel({along: 0}, drop=True), found.isel({along: slice(1, None)})
    largest = abs(random["effect"]) >= abs(own["effect"])
    own["random_above"] = (largest.sum(along) + 1) / (random.sizes[along] + 1)
    for name in ("effect", "share"):
        own[f"random_{name}"] = random[name].mean(along)
        own[f"random_{name}_low"], own[f"random_{name}_high"] = random[name].min(along), random[name].max(along)
    return own.astype(np.float32)
