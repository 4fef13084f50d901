"""What multiverses show: how long one text holds its probability, how many others there are, where texts part."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.statistics import bootstrap
from mcinterp.summary.behaviour.cells import genre_cells, heading
from mcinterp.summary.behaviour.lines import table

DEPTHS = (1, 4, 8, 16, 32)


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """One entry a genre (and all of them), side (all prompts, those held out) and stage.

    Means over prompts with their 95 % interval over templates (`mean`, `ci_low`, `ci_high`): `top_mass` by depth,
    `half_life` (tokens; a greedy text that keeps half its probability counts with the whole depth, so this is the least
    that it can be) and `never_halved` (share), `tree_area`, `likely_prefixes` (of all depths), `cut_mass` at the last
    depth, and of the first token and the strongest later one `fork_first` and `fork_later`, each with its `least` and
    its `most`.
    """
    how, stages = provenance_of(dataset), dataset["stage"].values.tolist()
    of_prompts = genre_cells(dataset.drop_dims("node"))
    return {
        "stages": stages,
        "n_prompts": dataset.sizes["prompt"],
        "settings": {name: how.get(name) for name in ("least", "depth", "most_nodes")},
        "cells": [entry(cell, stage, draws) for cell in of_prompts for stage in stages],
    }


def headline(found: dict[str, Any]) -> str:
    """One row a genre and stage."""
    rows = []
    for cell in found["cells"]:
        measures = [cell["top_mass"]["8"], *(cell[name] for name in ("half_life", "never_halved", "likely_prefixes"))]
        figures = [f"{each['mean']:.2f}" for each in [*measures, cell["cut_mass"]]]
        rows.append([cell["genre"], cell["prompts"], cell["stage"], *figures])
    last = ("likeliest of 8 tokens", "half-life", "never halved", "likely prefixes", "cut off")
    return table(("genre", "prompts", "stage", *last), rows)


def entry(cell: xr.Dataset, stage: str, draws: int) -> dict[str, Any]:
    """The figures of one stage on some prompts."""
    columns = columns_of(cell.sel(stage=stage))
    templates = cell["template"].values.tolist()
    found = bootstrap(np.stack(list(columns.values()), axis=-1), templates, draws=draws)
    flat = {name: found.at(index) for index, name in enumerate(columns)}
    nested: dict[str, Any] = {"top_mass": {}}
    for name, value in flat.items():
        measure, _, part = name.partition(" ")
        if part:
            nested.setdefault(measure, {})[part] = value
        else:
            nested[name] = value
    return {
        **heading(cell, stage),
        **nested,
    }


def columns_of(one: xr.Dataset) -> dict[str, np.ndarray]:
    """Every figure of every prompt of one stage."""
    depth, half = one.sizes["step"], one["half_life"]
    columns = {f"top_mass {d}": one["top_mass"].sel(step=d) for d in sorted({*DEPTHS, depth}) if d <= depth}
    columns |= {
        "half_life": half.clip(max=depth),
        "never_halved": (half == np.inf).astype(float).where(half.notnull()),
        "tree_area": one["tree_area"],
        "likely_prefixes": one["n_likely"].sum("step"),
        "cut_mass": one["cut_mass"].isel(step=-1),
    }
    for place, steps in (("first", slice(0, 1)), ("later", slice(1, None))):
        for end, said in (("low", "least"), ("high", "most")):
            columns[f"fork_{place} {said}"] = one[f"fork_{end}"].isel(step=steps).max("step").fillna(0.0)
    return {name: values.values.astype(float) for name, values in columns.items()}
