"""The numbers of a run that people ask for first, as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.effects import effects, first_read, main_metric, strongest
from mcinterp.landmarks import (
    commitment,
    depth_name,
    final_distribution,
    landmark_positions,
    mean_entropy,
    mean_entropy_by_rendering,
)
from mcinterp.parts import largest_parts, mean_parts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import provenance_of, token_text


def opening_summary(stages: Sequence[str], rendered: RenderedPrompts, alignment: Mapping[str, Any]) -> dict[str, Any]:
    """What every run's summary begins with: stages, alignment, and one entry a prompt with its exact tokens."""
    keys = ("text", "template", "rendering", "tokens", "token_ids")
    columns = (rendered.texts, rendered.templates, rendered.renderings, rendered.tokens, rendered.token_ids)
    return {
        "stages": list(stages),
        "n_prompts": len(rendered),
        "alignment": alignment,
        "prompts": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
    }


def lens_summary(lens: xr.Dataset, onset: xr.Dataset) -> dict[str, Any]:
    """What the lenses show: entropies with intervals, onset under every lens, and figures for every prompt.

    Entropies are in nats, means over prompts at the last prompt position; `difference` is the last stage minus the
    base, `entropy_differences` every later stage minus the base.
    """
    entropy = mean_entropy(lens)
    return {
        "entropy": {**entropy["stages"], "difference": entropy["differences"][str(lens["stage"].values[-1])]},
        "entropy_differences": entropy["differences"],
        "entropy_by_rendering": mean_entropy_by_rendering(lens),
        "onset": onset_summary(lens, onset),
        "prompts": prompt_entries(lens),
    }


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


def onset_summary(lens: xr.Dataset, onset: xr.Dataset) -> dict[str, Any]:
    """Onset and commitment under every lens; on top the last stage's onset at the last prompt position."""
    depths, commit = onset["depth"].values.tolist(), commitment(lens)
    summary = {}
    for name in onset["lens"].values.tolist():
        stages = {
            stage: {
                read_at: onset_entry(onset.sel(lens=name, stage=stage, read_at=read_at), depths)
                for read_at in onset["read_at"].values.tolist()
            }
            for stage in onset["stage"].values.tolist()
        }
        summary[name] = {
            **stages[onset["stage"].values.tolist()[-1]]["last"],
            "by_stage": stages,
            "commitment": {
                stage: commitment_entry(commit.sel(lens=name, stage=stage), depths)
                for stage in lens["stage"].values.tolist()
            },
        }
    return summary


def onset_entry(onset: xr.Dataset, depths: list[str]) -> dict[str, Any]:
    """One onset with its interval, the p-value of the final gap under label swaps, and why it may be missing."""
    layer, site = depth_name(depths, float(onset["onset"]))
    reason = None if layer is not None else "the final entropy gap is below 0.01 nats"
    return {
        "layer": layer,
        "site": site,
        "ci_low": depth_label(depths, float(onset["onset_low"])),
        "ci_high": depth_label(depths, float(onset["onset_high"])),
        "final_gap": float(onset["gap"][-1]),
        "p_value": float(onset["p_value"][-1]),
        "null_interval": [depth_label(depths, float(onset[f"onset_null_{end}"])) for end in ("low", "high")],
        "missing_because": reason,
    }


def commitment_entry(commit: xr.Dataset, depths: list[str]) -> dict[str, Any]:
    """Mean commitment depth as an index into the depths, with its interval, and the depth it is nearest to."""
    ends = {end: float(commit[f"commitment_{end}"]) for end in ("mean", "low", "high")}
    return {
        "depth": ends["mean"],
        "ci_low": ends["low"],
        "ci_high": ends["high"],
        "nearest": depth_label(depths, ends["mean"]),
    }


def depth_label(depths: list[str], index: float) -> str | None:
    """The name of the depth nearest to an index."""
    layer, site = depth_name(depths, index)
    return None if layer is None else f"{layer} {site}"


def attractor_summary(attractors: xr.Dataset) -> list[dict[str, Any]]:
    """Candidate attractors, the largest difference to the base on held-out prompts first."""
    return [attractor_entry(attractors.isel(candidate=i)) for i in range(attractors.sizes["candidate"])]


def attractor_entry(one: xr.Dataset) -> dict[str, Any]:
    """One candidate: its text and kind, and what every stage gives to it."""
    stages = one["stage"].values.tolist()
    names = {"probability": "probability", "difference": "difference", "ci_low": "difference_low"}
    names |= {"ci_high": "difference_high", "share_captured": "share_captured"}
    by_stage = {key: dict(zip(stages, one[name].values.tolist(), strict=True)) for key, name in names.items()}
    return {
        "text": str(one["text"].item()),
        "kind": str(one["kind"].item()),
        "n_tokens": int(one["n_tokens"]),
        **by_stage,
        "confirmed": dict(zip(stages, one["confirmed"].values.astype(bool).tolist(), strict=True)),
    }


def prompt_entries(lens: xr.Dataset) -> list[dict[str, Any]]:
    """One entry a prompt: completion, attractor, entropies, and where the stages part."""
    marks = landmark_positions(lens)
    return [prompt_entry(lens.isel(prompt=i), marks.isel(prompt=i)) for i in range(lens.sizes["prompt"])]


def prompt_entry(lens: xr.Dataset, marks: xr.Dataset) -> dict[str, Any]:
    """The summary of one prompt, read at its last position."""
    text_of = token_text(lens)
    present = lens.sel(position=lens["token_id"] >= 0)
    final = final_distribution(present)
    last = final.sel(position=0)
    stages = lens["stage"].values.tolist()
    tokens = present["token"].values.tolist()
    before = int((present["position"] <= 0).sum())
    attractor = int(last["attractor"])

    def per_stage(name: str) -> dict[str, Any]:
        return dict(zip(stages, last[name].values.tolist(), strict=True))

    return {
        "completion": "".join(tokens[before:]),
        "attractor": text_of[attractor],
        "attractor_id": attractor,
        "entropy": per_stage("entropy"),
        "attractor_probability": per_stage("attractor_probability"),
        "attractor_rank": per_stage("attractor_rank"),
        "attractor_log_odds": per_stage("attractor_log_odds"),
        "top_token": {s: text_of[int(last["top_token"].sel(stage=s)[0])] for s in stages},
        "landmarks": {stage: landmark_entry(marks.sel(stage=stage), text_of) for stage in stages[1:]},
    }


def landmark_entry(marks: xr.Dataset, text_of: Mapping[int, str]) -> dict[str, Any]:
    """Where a stage's entropy gap is widest and where its greedy choice first parts from the base's."""
    parts = np.isfinite(float(marks["parting_position"]))
    return {
        "widest_position": int(marks["widest_position"]),
        "widest_gap": float(marks["widest_gap"]),
        "parting_position": int(marks["parting_position"]) if parts else None,
        "parting_tokens": [text_of[int(marks[name])] for name in ("parting_token_base", "parting_token")]
        if parts
        else None,
    }
