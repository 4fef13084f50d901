"""Weights or template, as plain numbers: cells and effects of the 2 x 2 design, and what key-values alone carry."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.template_effect.contrasts import contrasts
from mcinterp.effects import effects
from mcinterp.statistics import ENDS, bootstrap
from mcinterp.summary.behaviour.lines import interval

DRAWS = 1000
MEASURES: dict[str, str] = {
    "entropy": "entropy after the prompt (nats)",
    "kl_stage_to_base": "KL to the base on the same tokens (nats)",
    "kl_to_plain_base": "KL to the base on the raw prompt (nats)",
    "distinct": "different samples (share)",
}
EFFECTS = ("weights", "template", "interaction")


def summary(dataset: xr.Dataset) -> dict[str, Any]:
    """Cells and effects of every measure, stage by stage, and effects of key-values where they were patched.

    `cells`: measure -> stage -> rendering -> mean with interval; `effects`: measure -> stage -> `weights` (tuned minus
    base), `template` (chat minus raw) and `interaction` (what the template does to the tuned weights beyond what it
    does to the base's; of the KL to the base on the same tokens it is twice `template`, since the base's is 0);
    intervals are over templates. `keys`: metric -> direction -> positions -> `effect` (nats) and
    `share` of the gap between the two stages, with intervals, and the mean effect of every
    control; `keys_noise_floor` (nats) is the largest change by key-values put back.
    """
    found: dict[str, Any] = {"n_prompts": dataset.sizes["prompt"], "cells": {}, "effects": {}}
    for name in MEASURES:
        found["cells"][name], found["effects"][name] = of_measure(dataset, name)
    if "patched" in dataset.dims:
        metrics = ("keys_entropy", "keys_attractor_log_odds")
        found["keys"] = {metric.removeprefix("keys_"): keys(dataset, metric) for metric in metrics}
        found["keys_noise_floor"] = float(dataset["keys_noise_floor"])
    return found


def headline(found: dict[str, Any]) -> str:
    """What weights, template and both do to the entropy, and the share that key-values bring."""
    lines = []
    for stage, one in found["effects"]["entropy"].items():
        lines.append(f"entropy of {stage}: " + ", ".join(f"{name} {interval(one[name])}" for name in EFFECTS))
    for direction, one in found["keys"]["entropy"].items():
        said = [f"{where} {each['share']['mean']:.2f}" for where, each in one.items()]
        lines.append(f"key-values, {direction}, share of the entropy gap: " + ", ".join(said))
    return "\n".join(lines)


def of_measure(dataset: xr.Dataset, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cells and effects of one measure; prompts that lack a cell are left out of a stage's effects."""
    stages, renderings = dataset["stage"].values.tolist(), dataset["rendering"].values.tolist()
    values = dataset[name].transpose("prompt", "stage", "rendering").values.astype(float)
    groups = dataset["template"].values.tolist()
    levels = bootstrap(values, groups, draws=DRAWS)
    cells = {
        stage: {rendering: levels.at(s, r) for r, rendering in enumerate(renderings)} for s, stage in enumerate(stages)
    }
    changes = {}
    for s, stage in enumerate(stages[1:], 1):
        design = np.stack(contrasts(values[:, [0, s]]), axis=1)
        intervals = bootstrap(design, groups, draws=DRAWS)
        changes[stage] = {effect: intervals.at(e) for e, effect in enumerate(EFFECTS)}
    return cells, changes


def keys(dataset: xr.Dataset, metric: str) -> dict[str, Any]:
    """What key-values at some positions do to a metric, by direction."""
    found: dict[str, Any] = {}
    for positions in dataset["patched"].values.tolist():
        moved = effects(dataset.sel(patched=positions), metric, draws=DRAWS)
        for direction in moved["direction"].values.tolist():
            one = moved.sel(direction=direction)
            figures = {
                kind: dict(zip(ENDS, (float(one[f"{kind}{end}"]) for end in ("", "_low", "_high")), strict=True))
                for kind in ("effect", "share")
            }
            controls = {name: float(one[name]) for name in ("noop", "random", "shuffled") if name in one}
            found.setdefault(direction, {})[positions] = {**figures, "controls": controls, "gap": float(one["gap"])}
    return found
