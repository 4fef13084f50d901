"""What the lenses and the search for attractors show."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.landmarks import (
    commitment,
    depth_curve,
    depth_name,
    final_distribution,
    landmark_positions,
    mean_entropy,
    mean_entropy_by_rendering,
)
from mcinterp.results import token_text

PER_STAGE = ("entropy", "attractor_probability", "attractor_rank", "attractor_log_odds")


def lens_summary(lens: xr.Dataset, onset: xr.Dataset) -> dict[str, Any]:
    """What the lenses show: entropies with intervals, onset under every lens, and figures for every prompt.

    Entropies are in nats, means over prompts at the last prompt position; `difference` is the last stage minus the
    base, `entropy_differences` every later stage minus the base.
    """
    entropy = mean_entropy(lens)
    return {
        "entropy": {**entropy["stages"], "difference": entropy["differences"][str(lens["stage"].values[-1])]},
        "entropy_differences": entropy["differences"],
        "entropy_by_depth": entropy_along(lens),
        "entropy_by_rendering": mean_entropy_by_rendering(lens),
        "onset": onset_summary(lens, onset),
        "prompts": prompt_entries(lens),
    }


def entropy_along(lens: xr.Dataset) -> dict[str, Any]:
    """Mean entropy (nats) of every stage at every depth, by its own readout, at the last prompt position."""
    curve = depth_curve(lens["entropy"].sel(lens=lens["lens"].values[0], position=0)).mean("prompt")
    stages = {stage: curve.sel(stage=stage).values.tolist() for stage in curve["stage"].values.tolist()}
    return {"depths": curve["depth"].values.tolist(), "stages": stages}


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
    """One entry a prompt: completion, attractor, and at its last position what every stage says; where stages part."""
    text_of, stages = token_text(lens), lens["stage"].values.tolist()
    last = final_distribution(lens).sel(position=0)
    read = {name: by_prompt(last[name]) for name in (*PER_STAGE, "attractor", "top_token")}
    marks = {name: by_prompt(each) for name, each in landmark_positions(lens).data_vars.items()}
    written = (lens["token_id"].values >= 0) & (lens["position"].values > 0)
    return [
        {
            "completion": "".join(tokens[there]),
            "attractor": text_of[int(read["attractor"][i])],
            "attractor_id": int(read["attractor"][i]),
            **{name: dict(zip(stages, read[name][i].tolist(), strict=True)) for name in PER_STAGE},
            "top_token": {stage: text_of[int(read["top_token"][i, s, 0])] for s, stage in enumerate(stages)},
            "landmarks": {
                stage: landmark_entry({name: mark[i, s] for name, mark in marks.items()}, text_of)
                for s, stage in enumerate(stages[1:])
            },
        }
        for i, (tokens, there) in enumerate(zip(lens["token"].values, written, strict=True))
    ]


def by_prompt(values: xr.DataArray) -> np.ndarray:
    """Values with the prompts first and, where there is one, the stage second."""
    return values.transpose("prompt", *(["stage"] if "stage" in values.dims else []), ...).values


def landmark_entry(marks: Mapping[Any, Any], text_of: Mapping[int, str]) -> dict[str, Any]:
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
