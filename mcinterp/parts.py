"""Parts of a whole over prompts, on datasets alone: means with intervals, and their shares of the total.

For every dataset whose parts sum to a total: attributions of logits and of the update, Shapley values, splits.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.effects import labels, prompts_first
from mcinterp.results import derived
from mcinterp.statistics import bootstrap, mean_over_prompts

DRAWS = 500
LEAST_TOTAL = 0.1


def completeness_error(summed: np.ndarray, total: np.ndarray) -> np.ndarray:
    """How far parts are from adding up: |sum of the parts - total| / max(|total|, 0.1)."""
    return np.abs(summed - total) / np.maximum(np.abs(total), LEAST_TOTAL)


def mean_parts(
    dataset: xr.Dataset, name: str = "attribution", *, along: str = "component", draws: int = DRAWS, seed: int = 0
) -> xr.Dataset:
    """Mean of every part over prompts with its 95 % interval over templates, and its share of the mean total.

    Over the axes of `name` without `prompt`: `mean`, `low`, `high` (the part's unit), `share`, `share_low`,
    `share_high` (missing for a mean total below 0.1); over the axes of `total`: `mean_total`.
    """
    values, total = prompts_first(dataset[name]), prompts_first(dataset["total"])
    whole = total.broadcast_like(values).transpose(*values.dims)
    both = np.stack([values.values, whole.values], axis=1).astype(float)
    templates = dataset["template"].values.tolist()
    mean = bootstrap(both[:, 0], templates, draws=draws, seed=seed)
    share = bootstrap(both, templates, share_of_total, draws=draws, seed=seed)
    dims: tuple[Hashable, ...] = values.dims[1:]
    found = {key: (dims, end) for key, end in zip(("mean", "low", "high"), mean, strict=True)}
    found |= {key: (dims, end) for key, end in zip(("share", "share_low", "share_high"), share, strict=True)}
    found["mean_total"] = (total.dims[1:], mean_over_prompts(total.values.astype(float)))
    data = {key: (axes, end.astype(np.float32)) for key, (axes, end) in found.items()}
    return derived(xr.Dataset(data, coords=labels(values, dims)), dataset, parts_of=name, along=along)


def share_of_total(both: np.ndarray) -> np.ndarray:
    """Mean part over mean total of values over prompt and (part, total)."""
    part, total = mean_over_prompts(both)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(total) >= LEAST_TOTAL, part / total, np.nan)


def largest_parts(found: xr.Dataset, count: int, along: str = "component") -> list[dict[str, Any]]:
    """The parts of largest size of a dataset of `mean_parts` without other axes, largest first, as plain entries."""
    table = found.drop_vars("mean_total").to_dataframe().reset_index()
    kept = [name for name in (along, "site", "layer", "head", "mean", "low", "high", "share") if name in table]
    rows = [dict(zip(kept, row, strict=True)) for row in zip(*(table[name].tolist() for name in kept), strict=True)]
    return sorted(rows, key=lambda row: -abs(row["mean"]))[:count]
