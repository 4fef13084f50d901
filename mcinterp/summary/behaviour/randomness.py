"""What random draws show: entropy, favourites and distances by frame, support and stage, with intervals."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.randomness.measures import autocorrelation
from mcinterp.behaviour.randomness.support import short_name
from mcinterp.results import provenance_of
from mcinterp.statistics import bootstrap
from mcinterp.summary.behaviour.cells import whole_and_held_out
from mcinterp.summary.behaviour.lines import table

MEASURES = {
    "entropy": "value_entropy",
    "entropy_share": "value_entropy_share",
    "uniform_kl": "uniform_kl",
    "uniform_total_variation": "uniform_total_variation",
    "chi_square": "value_chi_square",
    "favourite_share": "favourite_share",
    "off_support": "off_support",
    "base_spearman": "base_spearman",
    "base_total_variation": "base_total_variation",
    "paraphrase_spearman": "paraphrase_spearman",
    "paraphrase_total_variation": "paraphrase_total_variation",
}
HISTORY = ("repeat_share", "repeat_share_alone", "repeat_any_share", "next_entropy_share")
NUMBERS = ("earlier_number", "next_mean", "next_variance")


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """One entry a frame, support and stage, for all prompts and for the held-out ones apart.

    Every measure is a mean over prompts with its 95 % interval over templates (`mean`, `ci_low`, `ci_high`; missing
    where there is one template only). `favourite` is the value with the largest mean share, `favourite_share` the mean
    over prompts of each prompt's own largest share. `earlier` holds the same for draws after earlier draws, with the
    `chance` of a repetition and the `autocorrelation` of successive numbers.
    """
    return {
        "stages": dataset["stage"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        "draws": provenance_of(dataset).get("draws"),
        "cells": [entry for cell in cells(dataset) for entry in cell_entries(cell, draws)],
        "earlier": [
            entry for cell in cells(dataset) if cell.attrs["side"] == "all" for entry in earlier_entries(cell, draws)
        ],
    }


def headline(found: dict[str, Any]) -> str:
    """One row a support, frame and stage."""
    names = ("entropy", "entropy_share", "favourite", "favourite_share", "off_support")
    rows = [
        [short_name(cell["support"]), cell["frame"], cell["prompts"], cell["stage"]]
        + [cell[name] if name == "favourite" else f"{cell[name]['mean']:.3f}" for name in names]
        for cell in found["cells"]
    ]
    head = ("support", "frame", "prompts", "stage", "H (nats)", "H / log N", "favourite", "its share", "off support")
    return table(head, rows)


def cells(dataset: xr.Dataset) -> list[xr.Dataset]:
    """The prompts of every frame and support, all of them and those held out; the attribute `side` says which."""
    pairs = zip(dataset["frame"].values.tolist(), dataset["support"].values.tolist(), strict=True)
    found = []
    for frame, support in dict.fromkeys(pairs):
        here = (dataset["frame"] == frame) & (dataset["support"] == support)
        found += whole_and_held_out(dataset, here)
    return found


def heading(cell: xr.Dataset, stage: str) -> dict[str, Any]:
    """What an entry is about."""
    return {
        "frame": str(cell["frame"].values[0]),
        "support": str(cell["support"].values[0]),
        "prompts": cell.attrs["side"],
        "stage": stage,
        "n_prompts": cell.sizes["prompt"],
        "n_templates": len(set(cell["template"].values.tolist())),
    }


def cell_entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """Every measure of one cell, one entry a stage."""
    arrays = [cell[name].transpose("prompt", "stage").values.astype(float) for name in MEASURES.values()]
    found = bootstrap(np.stack(arrays, axis=-1), cell["template"].values.tolist(), draws=draws)
    mean = cell["value_share"].mean("prompt").transpose("stage", "value")
    entries = []
    for s, stage in enumerate(cell["stage"].values.tolist()):
        measured = {name: found.at(s, m) for m, name in enumerate(MEASURES)}
        best = cell["value"].values[int(np.nanargmax(mean.values[s]))]
        entries.append({**heading(cell, stage), "favourite": str(best), **measured})
    return entries


def earlier_entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """What earlier draws do in one cell, one entry a stage and number of earlier draws; none where they were not read.

    The autocorrelation is taken over all contexts of a resample together.
    """
    if "repeat_share" not in cell:
        return []
    read = cell.sel(prompt=cell["repeat_share"].notnull().any(["stage", "sample", "step"]))
    if not read.sizes["prompt"]:
        return []
    groups, chance = read["template"].values.tolist(), 1.0 / float(read["support_size"].values[0])
    entries = []
    for step in read["step"].values.tolist():
        for stage in read["stage"].values.tolist():
            at = read.sel(stage=stage, step=step).transpose("prompt", "sample", ...)
            means = np.stack([at[name].mean("sample").values.astype(float) for name in HISTORY], axis=-1)
            found = bootstrap(means, groups, draws=draws)
            numbers = np.stack([at[name].values.astype(float) for name in NUMBERS], axis=1)
            follows = bootstrap(numbers, groups, following, draws=draws)
            measured = {name: found.at(m) for m, name in enumerate(HISTORY)}
            entry = {**heading(at, stage), "earlier": step, "chance": chance, **measured}
            entries.append({**entry, "autocorrelation": follows.at()})
    return entries


def following(numbers: np.ndarray) -> np.ndarray:
    """The autocorrelation over prompts and samples, from the last number and the next one's mean and variance."""
    return np.asarray(autocorrelation(*numbers.transpose(1, 0, 2)))
