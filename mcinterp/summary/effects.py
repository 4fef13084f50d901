"""What patches, grafts and held patches do."""

from typing import Any

import xarray as xr

from mcinterp.effects import effects, first_read, main_metric, strongest


def patch_summary(patched: xr.Dataset) -> dict[str, Any]:
    """What patching shows: the strongest cells of every direction, the engine, and the noise floor (nats)."""
    return {**effect_summary(patched), **{name: patched.attrs[name] for name in ("engine", "noise_floor")}}


def effect_summary(moved: xr.Dataset, *, count: int = 20) -> dict[str, Any]:
    """Effects of patches or grafts, by direction: the gap between the ends and the cells with the largest effects.

    Effects are in the metric's unit, means over prompts of moved minus unmoved recipient; `share` is the mean effect
    over the mean gap.
    """
    metric = main_metric(moved)
    found = effects(moved, metric)
    gap = first_read(found)["gap"]
    return {
        "metric": metric,
        "directions": {
            name: {
                "donor": str(gap["donor_stage"].sel(direction=name).item()),
                "recipient": str(gap["recipient_stage"].sel(direction=name).item()),
                "gap": float(gap.sel(direction=name)),
                "cells": strongest(found, name, count),
            }
            for name in found["direction"].values.tolist()
        },
    }


def held_summary(held: xr.Dataset) -> dict[str, Any]:
    """What held patches do, by direction: for every cell the share of trajectories that leave the unpatched one.

    With the mean entropy of the patched distributions (nats) beside that of the unpatched ones.
    """
    read = xr.Dataset(
        {
            "leaves": held["left_at"].notnull().mean(["prompt", "sample"]),
            "entropy": held["entropy"].mean(["prompt", "sample", "step"]),
        }
    ).drop_vars(["donor_stage", "recipient_stage"], errors="ignore")
    clean = held["entropy_recipient"].mean(["prompt", "sample", "step"])
    return {
        name: {
            "entropy_recipient": float(clean.sel(direction=name)),
            "cells": read.sel(direction=name, drop=True).to_dataframe().reset_index().to_dict("records"),
        }
        for name in held["direction"].values.tolist()
    }
