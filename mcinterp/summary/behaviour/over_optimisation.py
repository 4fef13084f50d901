"""A run as plain numbers: divergence, rewards, attractor and dependence on the prompt, with 95 % intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.over_optimisation.measures import clusters_of_half
from mcinterp.results import provenance_of
from mcinterp.statistics import Interval, bootstrap, mean_over_prompts
from mcinterp.summary.behaviour.lines import interval, table

Transform = Callable[[np.ndarray], np.ndarray]
MEASURES = {
    "kl": "sequence_kl",
    "reward": "proxy_reward",
    "gold": "gold_reward",
    "attractor": "attractor_share",
    "own_attractor": "own_attractor_share",
    "ending_information": "ending_information",
    "ending_information_by_chance": "ending_information_by_chance",
    "between_prompts": "between_prompts",
    "within_prompts": "within_prompts",
    "breaks": "break_share",
    "break_jump": "break_jump_share",
    "jump_after_document": "jump_share",
    "jump_after_separator": "jump_share",
    "ended": "ended",
}
HEADLINE = (
    "sqrt_kl", "reward", "gold", "attractor", "ending_information", "effective_clusters", "half_clusters",
    "between_prompts", "break_jump", "jump_after_document",
)  # fmt: skip


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """One entry a side (all prompts, those not held out, those held out) and stage, in order of training.

    `levels` and `differences` (stage minus base, on the same prompts) hold for every measure its mean over prompts
    with the ends of its 95 % interval over templates (`mean`, `ci_low`, `ci_high`); `sqrt_kl` is the root of the mean
    KL, `effective_clusters` exp of the mean surprise, `half_clusters` the fewest clusters that hold half of a stage's
    samples, `between_share` the part of the endings' variance that lies
    between prompts. Clusters and attractors are those of the whole battery on every side. `attractor` is the run's
    string or class, searched for on prompts not held out, where its share is therefore a little too high. The chance
    that is taken off `ending_information` is that of endings without a prompt: where prompts matter it is too much, so
    that the measure is near 0 where they do not, and a lower bound elsewhere.
    """
    record = provenance_of(dataset)
    return {
        "stages": dataset["stage"].values.tolist(),
        "training_step": dataset["training_step"].values.tolist(),
        "attractor": record.get("attractor"),
        "attractor_given": record.get("attractor_given"),
        "own_attractors": dataset["own_attractor"].values.tolist(),
        "reward": record.get("reward"),
        "gold": record.get("gold"),
        "n_samples": dataset.sizes["sample"],
        "cells": [entry for side, cell in sides(dataset) for entry in entries(side, cell, draws)],
    }


def headline(found: dict[str, Any]) -> str:
    """The attractor, and one row a stage."""
    cells = [entry for entry in found["cells"] if entry["prompts"] == "all"]
    held = {entry["stage"]: entry for entry in found["cells"] if entry["prompts"] == "held out"}
    names = [name for name in HEADLINE if cells and name in cells[0]["levels"]]
    rows = []
    for entry in cells:
        there = held.get(entry["stage"])
        confirmed = interval(there["levels"]["attractor"]) if there else ""
        rows.append([entry["stage"], *(interval(entry["levels"][name]) for name in names), confirmed])
    said = "given" if found["attractor_given"] else "gained most over the base on prompts not held out"
    lines = [f"attractor of the run ({said}): {found['attractor']!r}", ""]
    return "\n".join(lines) + table(("stage", *names, "attractor, held out"), rows)


def sides(dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """The prompts, all of them and on either side of the line."""
    held_out = dataset["held_out"]
    parts = [("all", held_out | True), ("not held out", ~held_out), ("held out", held_out)]
    return [(side, dataset.sel(prompt=kept)) for side, kept in parts if bool(kept.any())]


def values_of(cell: xr.Dataset, name: str) -> np.ndarray:
    """A measure over prompt and stage, samples averaged."""
    found = cell[MEASURES[name]]
    if "place" in found.dims:
        found = found.sel(place=name.removeprefix("jump_after_"))
    averaged = found.astype(float).mean("sample") if "sample" in found.dims else found.astype(float)
    return averaged.transpose("prompt", "stage").values


def with_difference(transform: Transform) -> Callable[[np.ndarray], np.ndarray]:
    """A statistic of prompts: the transformed mean of every stage, and beside it what it has more than the base's."""

    def statistic(values: np.ndarray) -> np.ndarray:
        levels = transform(mean_over_prompts(values))
        return np.stack([levels, levels - levels[:1]])

    return statistic


def same(values: np.ndarray) -> np.ndarray:
    """The values themselves."""
    return values


def root(values: np.ndarray) -> np.ndarray:
    """The square root; 0 for what lies below 0 by rounding."""
    return np.sqrt(np.maximum(values, 0.0))


def share_of_first(values: np.ndarray) -> np.ndarray:
    """The first part over both parts (stage by part); missing where there is no variance."""
    whole = values.sum(axis=-1)
    return np.divide(values[:, 0], whole, out=np.full(len(values), np.nan), where=whole > 0)


def halves(clusters: np.ndarray) -> np.ndarray:
    """The fewest clusters that hold half of each stage's samples, and beside it how many more than the base's."""
    levels = np.asarray([clusters_of_half(stage.astype(int)) for stage in clusters.transpose(1, 0, 2)])
    return np.stack([levels, levels - levels[:1]])


def intervals(cell: xr.Dataset, draws: int) -> dict[str, Interval]:
    """Every measure of one side, over kind (level, difference) and stage."""
    templates = cell["template"].values.tolist()

    def of(values: np.ndarray, transform: Transform = same) -> Interval:
        return bootstrap(values, templates, with_difference(transform), draws=draws)

    found = {name: of(values_of(cell, name)) for name, variable in MEASURES.items() if variable in cell}
    found["sqrt_kl"] = of(values_of(cell, "kl"), root)
    surprise = cell["ending_surprise"].astype(float).transpose("prompt", "stage").values
    found["effective_clusters"] = of(surprise, np.exp)
    clusters = cell["ending_cluster"].astype(float).transpose("prompt", "stage", "sample").values
    found["half_clusters"] = bootstrap(clusters, templates, halves, draws=draws)
    both = np.stack([values_of(cell, name) for name in ("between_prompts", "within_prompts")], axis=-1)
    return found | {"between_share": of(both, share_of_first)}


def entries(side: str, cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One side, one entry a stage."""
    measured = intervals(cell, draws)
    return [
        {
            "prompts": side, "stage": stage, "training_step": float(cell["training_step"].values[number]),
            "n_prompts": cell.sizes["prompt"], "n_templates": len(set(cell["template"].values.tolist())),
            "levels": {name: each.at(0, number) for name, each in measured.items()},
            "differences": {name: each.at(1, number) for name, each in measured.items()},
        }
        for number, stage in enumerate(cell["stage"].values.tolist())
    ]  # fmt: skip
