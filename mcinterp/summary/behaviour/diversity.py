"""Diversity as plain numbers: levels of every measure by genre and stage, and what separates a stage from the base.

Intervals are by bootstrap over templates. A measure of a pool of outputs has its pool held fixed meanwhile: a template
that is drawn twice would else pass for outputs that repeat. Distances grow with fewer different prompts, so those of
resamples are moved by what their mean has beyond the estimate. With fewer than 4 templates intervals say little.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from mcinterp.behaviour.diversity.distances import DISTANCES, distances, pieces_of
from mcinterp.diversity.ngrams import adjusted
from mcinterp.results import provenance_of
from mcinterp.statistics import (
    Interval,
    bootstrap,
    bootstrap_samples,
    mean_over_prompts,
    percentile_ends,
)
from mcinterp.summary.behaviour.cells import genre_cells, heading
from mcinterp.summary.behaviour.lines import interval, table

OF_PROMPTS = {
    "distinct_classes": "distinct",
    "class_utility": "utility",
    "distinct_ngrams": "distinct",
    "expectation_adjusted_distinct": "ead_per_input",
    "vendi_score": "vendi",
    "self_bleu": "self_bleu",
    "branching_factor": "branching_factor",
    "branching_factor_full": "branching_factor_full",
}
OF_POOLS = {
    "top_coverage": "top_coverage",
    "unseen_mass": "unseen_mass",
    "genre_information": "genre_information",
    "prompt_information": "prompt_information",
}
ACROSS = ("across_distinct", "across_ngrams")
DISTANCE_DRAWS, LEVEL = 200, 0.95
LARGEST = {"frechet_distance": np.inf, "mauve": 1.0, "frontier_integral": 1.0}
Table = Float[np.ndarray, "prompt stage column"]

HEADLINE = (
    "distinct_exact", "effective_exact", "top_coverage_exact", "ead_per_input", "ead_across_inputs", "vendi_order_1",
    "branching_factor", "prompt_information", "mauve", "frechet_distance",
)  # fmt: skip


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """One entry a genre (and all of them, each weighing the same), side (all prompts, those held out) and stage.

    `levels` and `differences` (stage minus base, on the same prompts) hold for every measure its mean over prompts
    with the ends of its 95 % interval over templates (`mean`, `ci_low`, `ci_high`). Measures are named after their
    variable, and the equivalence, n or order they are of (`distinct_exact`, `vendi_order_1`); `effective_EQUIVALENCE`
    is exp of the mean `class_surprise`, `ead_across_inputs` the EAD over one sample of each prompt. Held-out prompts
    alone have the measures of single prompts only: a pool is the whole genre.
    """
    settings = {str(name): dataset[name].attrs["settings"] for name in dataset.data_vars if settings_in(dataset, name)}
    return {
        "stages": dataset["stage"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        "n_samples": dataset.sizes["sample"],
        "temperature": provenance_of(dataset).get("temperature"),
        "settings": settings,
        "cells": [entry for cell in genre_cells(dataset) for entry in entries(cell, draws)],
    }


def headline(found: dict[str, Any]) -> str:
    """One row a genre and stage."""
    entries = [entry for entry in found["cells"] if entry["prompts"] == "all"]
    rows = [
        [entry["genre"], entry["stage"], *(interval(entry["levels"][name]) for name in HEADLINE)] for entry in entries
    ]
    return table(("genre", "stage", *HEADLINE), rows)


def settings_in(dataset: xr.Dataset, name: Any) -> bool:
    """Whether a variable says how it was measured."""
    return "settings" in dataset[name].attrs


def entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One cell, one entry a stage."""
    templates = cell["template"].values.tolist()
    measured = of_columns(cell, templates, draws)
    if cell.attrs["side"] == "all":
        measured |= of_distances(cell, templates, min(draws, DISTANCE_DRAWS))
    return [
        {
            **heading(cell, stage),
            "levels": {name: found.at(0, number) for name, found in measured.items()},
            "differences": {name: found.at(1, number) for name, found in measured.items()},
        }
        for number, stage in enumerate(cell["stage"].values.tolist())
    ]  # fmt: skip


def by_genre(statistic: Any, genres: Sequence[str]) -> Any:
    """A statistic as the mean over genres of its values in each, then minus the base's beside it.

    The rows of what it is given hold the number of their prompt first, so that resampled rows know their genre;
    missing where a genre has no row, so that resamples without it do not count.
    """
    names = list(dict.fromkeys(genres))
    numbers = np.asarray([names.index(genre) for genre in genres])

    def levels_and_differences(rows: np.ndarray) -> np.ndarray:
        own = numbers[rows[:, 0].astype(int)]
        here = np.unique(own)
        levels = mean_over_prompts(np.stack([statistic(rows[own == number, 1:]) for number in here]))
        levels = levels if len(here) == len(names) else np.full_like(levels, np.nan)
        return np.stack([levels, levels - levels[..., :1]], axis=0)

    return levels_and_differences


def resampled(
    values: np.ndarray, genres: Sequence[str], templates: Sequence[str], statistic: Any, draws: int, *, moved: bool
) -> Interval:
    """Levels and differences of a statistic of rows, with intervals over templates, `moved` by the resamples' bias."""
    flat = values.reshape(len(values), -1)
    rows = np.concatenate([np.arange(len(flat))[:, None], flat], axis=1)

    def of_rows(chosen: np.ndarray) -> np.ndarray:
        return statistic(chosen.reshape(len(chosen), *values.shape[1:]))

    whole = by_genre(of_rows, genres)
    if not moved or len(set(templates)) < 2:
        return bootstrap(rows, templates, whole, draws=draws)
    estimate = whole(rows)
    samples = bootstrap_samples(rows, templates, whole, draws=draws, seed=0)
    return Interval(estimate, *percentile_ends(samples + estimate - mean_over_prompts(samples), LEVEL))


def of_columns(cell: xr.Dataset, templates: Sequence[str], draws: int) -> dict[str, Interval]:
    """Every measure that follows from means over prompts of single columns."""
    columns = prompt_columns(cell) | (pool_columns(cell) if cell.attrs["side"] == "all" else {})
    names, vocabulary = list(columns), int(provenance_of(cell).get("vocabulary", 0))
    made: list[str] = []

    def statistic(values: Table) -> np.ndarray:
        means = dict(zip(names, mean_over_prompts(values).T, strict=True))
        found = derive(means, len(values), vocabulary)
        made[:] = list(found)
        return np.stack(list(found.values()))

    table = np.stack(list(columns.values()), axis=-1)
    interval = resampled(table, cell["genre"].values.tolist(), templates, statistic, draws, moved=False)
    return {name: Interval(*(end[:, number] for end in interval)) for number, name in enumerate(made)}


def of_distances(cell: xr.Dataset, templates: Sequence[str], draws: int) -> dict[str, Interval]:
    """The distances from the base's outputs."""
    parts, n_clusters, n_components = pieces_of(cell)

    def statistic(values: np.ndarray) -> np.ndarray:
        return distances(mean_over_prompts(values), n_clusters, n_components)

    interval = resampled(parts, cell["genre"].values.tolist(), templates, statistic, draws, moved=True)
    return {
        name: Interval(*(within(end[:, number], LARGEST[name]) for end in interval))
        for number, name in enumerate(DISTANCES)
    }


def within(end: np.ndarray, largest: float) -> np.ndarray:
    """Levels kept in their range where the move of the resamples would carry an end out of it; differences as is."""
    return np.stack([end[0].clip(0.0, largest), end[1]])


def prompt_columns(cell: xr.Dataset) -> dict[str, np.ndarray]:
    """Measures of single prompts, over prompt and stage."""
    return {name: values for source, short in OF_PROMPTS.items() for name, values in spread(cell[source], short)}


def pool_columns(cell: xr.Dataset) -> dict[str, np.ndarray]:
    """Parts of measures of pools, over prompt and stage."""
    found = {name: values for source, short in OF_POOLS.items() for name, values in spread(cell[source], short)}
    for name in ("class_surprise", *ACROSS):
        found |= dict(spread(cell[name], name))
    return found


def spread(variable: xr.DataArray, short: str) -> list[tuple[str, np.ndarray]]:
    """A variable as columns, one for each place on a further dimension, named after it."""
    further = [str(dim) for dim in variable.dims if dim not in ("stage", "prompt")]
    if not further:
        return [(short, variable.transpose("prompt", "stage").values.astype(float))]
    (dim,) = further
    labels = [each if dim == "equivalence" else f"{dim}_{each:g}" for each in variable[dim].values.tolist()]
    values = variable.transpose(dim, "prompt", "stage").values.astype(float)
    return [(f"{short}_{label}", value) for label, value in zip(labels, values, strict=True)]


def derive(means: dict[str, np.ndarray], n_prompts: int, vocabulary: int) -> dict[str, np.ndarray]:
    """The measures of a genre from means over its prompts, by stage."""
    found = {name: value for name, value in means.items() if not name.startswith(("class_surprise", "across_"))}
    for name, value in means.items():
        if name.startswith("class_surprise"):
            found[name.replace("class_surprise", "effective")] = np.exp(value)
    counts = [[value * n_prompts for name, value in means.items() if name.startswith(each)] for each in ACROSS]
    if counts[0]:
        values = adjusted(np.stack(counts[0]), np.stack(counts[1]), vocabulary)
        found["ead_across_inputs"] = mean_over_prompts(values)
    return found
