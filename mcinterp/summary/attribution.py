"""What attributions, splits and scores show."""

from typing import Any

import xarray as xr

from mcinterp.direction.response import dose_response
from mcinterp.landmarks import final_distribution
from mcinterp.neurons.set_effects import set_effects
from mcinterp.parts import largest_parts, mean_parts
from mcinterp.results import provenance_of

SCORES = ("induction_score", "previous_token_score", "duplicate_token_score", "copying_score")


def parts_summary(dataset: xr.Dataset, name: str, along: str, *, count: int = 20) -> dict[str, Any]:
    """Parts of a whole, by stage where there are several: the mean total, the largest parts, what is missing."""
    found = mean_parts(dataset, name, along=along)
    error = dataset["completeness_error"].max("prompt") if "completeness_error" in dataset else None
    stages = found["stage"].values.tolist() if "stage" in found.dims else [None]

    def of(stage: str | None) -> dict[str, Any]:
        one = found if stage is None else found.sel(stage=stage)
        missing = error if stage is None or error is None else error.sel(stage=stage)
        return {
            "total": float(one["mean_total"]),
            "completeness_error": None if missing is None else float(missing),
            "parts": largest_parts(one, count, along),
        }

    metric = provenance_of(dataset).get("metric")
    return {"metric": metric, "stages": {stage or "all": of(stage) for stage in stages}}


def temperature_summary(split: xr.Dataset) -> dict[str, Any]:
    """How much of KL(stage || base) at the output is a temperature, the base's frequencies, or reordering (nats)."""
    final = final_distribution(split).sel(position=0)
    names = ("kl_stage_to_base", "temperature_kl", "frequency_kl", "reordering_kl")
    mean = final[list(names)].mean("prompt")
    return {
        "stages": {
            stage: {name: float(mean[name].sel(stage=stage)) for name in names}
            for stage in final["stage"].values.tolist()
        }
    }


def screen_summary(screen: xr.Dataset) -> dict[str, Any]:
    """How well estimates of patches agree with the patches that were run, by direction."""
    return {
        "directions": {
            name: {"rank_correlation": float(screen["rank_correlation"].sel(direction=name))}
            for name in screen["direction"].values.tolist()
        }
    }


def head_summary(heads: xr.Dataset) -> dict[str, Any]:
    """By stage, the head with the highest value of every score."""
    return {
        "stages": {
            stage: {name: best_head(heads[name].sel(stage=stage)) for name in SCORES}
            for stage in heads["stage"].values.tolist()
        }
    }


def best_head(scores: xr.DataArray) -> dict[str, Any]:
    """The layer and head of the largest score, and the score."""
    best = scores.argmax(["layer", "head"])
    at = {axis: int(scores[axis][best[axis]]) for axis in ("layer", "head")}
    return {**at, "score": float(scores.isel(best))}


def neuron_summary(neurons: xr.Dataset) -> dict[str, Any]:
    """How far the neuron sets of first and last stage overlap, and what patching them does beside random sets."""
    overlap = neurons["jaccard"].isel(stage=0, other_stage=-1)
    moved = set_effects(neurons)
    return {
        kind: {
            "jaccard": float(overlap.sel(kind=kind)),
            "jaccard_by_chance": float(neurons["jaccard_by_chance"].sel(kind=kind)),
            "effects": moved.sel(kind=kind, drop=True).to_dataframe().reset_index().to_dict("records"),
        }
        for kind in neurons["kind"].values.tolist()
    }


def dose_summary(steered: xr.Dataset) -> dict[str, Any]:
    """Effect on entropy and on the attractor's log-odds of every operation and dose, beside random directions."""
    return {
        metric: dose_response(steered, metric).to_dataframe().reset_index().to_dict("records")
        for metric in ("entropy", "attractor_log_odds")
    }
