"""Patching results on the scale of their two ends, on datasets alone: recovery and interaction."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

LEAST_DIFFERENCE = 0.1


def recovery(dataset: xr.Dataset, metric: str, *, least: float = LEAST_DIFFERENCE) -> xr.DataArray:
    """(M_patched - M_recipient) / (M_donor - M_recipient): 0 is no effect, 1 makes the recipient read like the donor.

    Missing where the ends differ by less than `least` (in the metric's unit), for a share of nearly nothing is noise.
    """
    patched = dataset[metric]
    recipient = spread(dataset[f"{metric}_recipient"], patched)
    gap = spread(dataset[f"{metric}_donor"], patched) - recipient
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(np.abs(gap) >= least, (patched.values - recipient) / gap, np.nan)
    return xr.DataArray(share.astype(np.float32), dims=patched.dims)


def spread(end: xr.DataArray, patched: xr.DataArray) -> np.ndarray:
    """Values of an end with an axis for each of the patched cells' axes, in their order."""
    axes = tuple(i for i, name in enumerate(patched.dims) if name not in end.dims)
    return np.expand_dims(end.values.astype(float), axes)


def why_missing(dataset: xr.Dataset, metric: str, *, least: float = LEAST_DIFFERENCE) -> xr.DataArray:
    """By prompt and direction: why the recovery is missing, or an empty string where it is not."""
    gap = np.abs(dataset[f"{metric}_donor"].values - dataset[f"{metric}_recipient"].values)
    said = ["" if g >= least else f"the ends differ by {g:.3g}, less than {least:g}" for g in gap.flatten()]
    return xr.DataArray(np.asarray(said).reshape(gap.shape), dims=dataset[f"{metric}_donor"].dims)


def with_recovery(dataset: xr.Dataset, metrics: Sequence[str]) -> xr.Dataset:
    """The dataset with `<metric>_recovery` and `<metric>_recovery_missing` for every metric."""
    added = {}
    for metric in metrics:
        if metric != "kl_to_recipient":
            added[f"{metric}_recovery"] = recovery(dataset, metric).variable
            added[f"{metric}_recovery_missing"] = why_missing(dataset, metric).variable
    return dataset.assign(added)


def interaction_of(corners: xr.Dataset, metric: str, forth: str, back: str) -> xr.DataArray:
    """I(l) = M(tt) - M(bt) - M(tb) + M(bb) over `prompt` and boundary `layer`, in the metric's unit.

    M(uv) has everything below layer l from u and the rest from v, so `forth` (base_to_tuned) of `resid_pre` at all
    positions is M(bt), `back` is M(tb). Zero where the two parts of the tuned checkpoint act apart from each other;
    otherwise patching in one direction only is misleading.
    """
    patched, clean = corners[metric].sel(site="resid_pre", drop=True), corners[f"{metric}_recipient"]
    ends = clean.sel(direction=forth, drop=True) + clean.sel(direction=back, drop=True)
    return ends - patched.sel(direction=forth, drop=True) - patched.sel(direction=back, drop=True)
