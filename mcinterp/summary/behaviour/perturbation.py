"""What disturbed completions show: whether they come back, how fast, and how sure the stage is while they do not."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.perturbation.measures import contraction_rate
from mcinterp.results import provenance_of
from mcinterp.statistics import bootstrap, mean_over_prompts
from mcinterp.summary.behaviour.cells import genre_cells, heading
from mcinterp.summary.behaviour.lines import interval, table

EDITED = ("same_ending", "returned", "return_step", "entropy_outside", "entropy_inside", "is_loop", "ended")
WITHIN = ["depth", "edit", "sample"]
LEAST_TEMPLATES = 4


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """One entry a genre (and all of them), side (all prompts, those held out), stage and decoding.

    Means over prompts with their 95 % interval over templates (`mean`, `ci_low`, `ci_high`). Of edited texts:
    `same_ending` (and `same_ending_clean`, of texts that ended and do not loop), `returned`, `return_step`,
    `entropy_outside`, `entropy_inside`, `is_loop`, `ended`, `contraction_rate` of their mean distance (a token), and
    `n_endings` of `n_perturbed`. `unmoved` is `same_ending` of the no-op: what the decoding's own randomness leaves.
    `beyond_matched` is `same_ending` minus that of the base at equal entropy, prompt by prompt, and `attracts` says
    whether its interval lies above 0 (not said below 4 templates); both of sampled texts only, since greedy ones come
    together without any collapse.
    """
    return {
        "stages": dataset["stage"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        "settings": {name: provenance_of(dataset).get(name) for name in ("steps", "samples", "window", "least")},
        "cells": [entry for cell in genre_cells(dataset) for entry in entries(cell, draws)],
    }


def headline(found: dict[str, Any]) -> str:
    """One row a genre and stage: the share with the same last sentence, by decoding, and what is beyond the base's."""
    cells = [cell for cell in found["cells"] if cell["prompts"] == "all"]
    rows = []
    for genre, stage in dict.fromkeys((cell["genre"], cell["stage"]) for cell in cells):
        one = {cell["decoding"]: cell for cell in cells if (cell["genre"], cell["stage"]) == (genre, stage)}
        same = [interval(one[decoding]["same_ending"]) for decoding in ("greedy", "sampled", "matched")]
        rest = [interval(one["sampled"][name]) for name in ("beyond_matched", "entropy_outside")]
        rows.append([genre, stage, *same, *rest])
    last = ("greedy", "sampled", "base at equal entropy", "beyond it", "entropy outside (sampled)")
    return table(("genre", "stage", *last), rows)


def entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One cell, one entry a stage and decoding."""
    return [
        entry(cell, stage, decoding, draws)
        for stage in cell["stage"].values.tolist()
        for decoding in cell["decoding"].values.tolist()
    ]


def entry(cell: xr.Dataset, stage: str, decoding: str, draws: int) -> dict[str, Any]:
    """Every figure of one stage and decoding."""
    one = cell.sel(stage=stage, decoding=decoding)
    templates = one["template"].values.tolist()
    columns = columns_of(one)
    if decoding == "sampled":
        matched = columns_of(cell.sel(stage=stage, decoding="matched"))["same_ending"]
        columns["beyond_matched"] = columns["same_ending"] - matched
    found = bootstrap(np.stack(list(columns.values()), axis=-1), templates, draws=draws)
    measured = {name: found.at(index) for index, name in enumerate(columns)}
    curve = bootstrap(curves_of(one), templates, rate, draws=draws)
    measured["contraction_rate"] = curve.at(0)
    return {
        **heading(cell, stage),
        "decoding": decoding,
        "temperature": float(one["temperature"].mean()),
        "attracts": attracts(measured, len(set(templates))),
        **measured,
    }


def attracts(measured: dict[str, dict[str, float]], templates: int) -> bool | None:
    """Whether disturbed texts come back more often than the base's at equal entropy; unknown of few templates."""
    if "beyond_matched" not in measured or templates < LEAST_TEMPLATES:
        return None
    return bool(measured["beyond_matched"]["ci_low"] > 0)


def columns_of(one: xr.Dataset) -> dict[str, np.ndarray]:
    """Every figure of every prompt of one stage and decoding: means over edits, depths and samples."""
    edited, unmoved = one.isel(edit=slice(1, None)), one.isel(edit=0)
    clean = edited["same_ending"].where((edited["is_loop"] == 0) & (edited["ended"] == 1))
    columns = {name: edited[name].mean(WITHIN) for name in EDITED}
    columns |= {
        "same_ending_clean": clean.mean(WITHIN),
        "unmoved": unmoved["same_ending"].mean(["depth", "sample"]),
        "unedited_entropy": one["unedited_entropy"].mean("sample"),
        **{name: one[name] for name in ("n_endings", "effective_endings", "n_perturbed")},
    }
    return {name: values.values.astype(float) for name, values in columns.items()}


def curves_of(one: xr.Dataset, name: str = "distance", *, edited: bool = True) -> np.ndarray:
    """The mean distance of every prompt over steps behind the edit (or behind none)."""
    chosen = one[name].isel(edit=slice(1, None) if edited else slice(0, 1))
    return chosen.mean(WITHIN).transpose("prompt", "step").values.astype(float)


def rate(curves: np.ndarray) -> np.ndarray:
    """The contraction rate of the mean curve of some prompts."""
    return np.asarray([contraction_rate(mean_over_prompts(curves))])
