"""Attractor strings, form, endings and calibration as plain numbers, by task and stage, with 95 % intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.strings.bins import calibration_error, overconfidence
from mcinterp.behaviour.strings.calibration import PARTS
from mcinterp.results import provenance_of
from mcinterp.statistics import Interval, mean_over_prompts
from mcinterp.summary.behaviour.cells import genre_cells, heading
from mcinterp.summary.behaviour.diversity import resampled
from mcinterp.summary.behaviour.lines import interval, table

OF_STRINGS = ("modal_share", "modal_share_by_chance", "modal_share_of_base")
OF_SAMPLES = ("n_lines", "in_fours", "rhymed_share", "ending_sentiment", "uplifting", "ended")
NEARLY = 0.9

HEADLINE = (
    "modal_share_4", "modal_share_by_chance_4", "beyond_base_4", "in_fours", "rhymed_share", "uplifting",
    "calibration_error",
)  # fmt: skip


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """One entry a task (and all of them, each weighing the same), side (all prompts, those held out) and stage.

    `levels` and `differences` (stage minus base, on the same prompts) hold for every measure its mean over prompts
    with the ends of its 95 % interval over templates: `modal_share_N` of strings of N words, the same
    `modal_share_by_chance_N` and `modal_share_of_base_N`, `beyond_chance_N` and `beyond_base_N` (what the stage has
    more than either), form and endings, and where the dataset has them `calibration_error` (ECE) and `overconfidence`.
    `strings` are the modal strings of the whole task by number of words, and `string` the longest of which samples
    hold nearly as much more (`string_excess` of its `string_share`) than the base's as of any; for the base itself,
    than by chance.
    """
    return {
        "stages": dataset["stage"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        "n_samples": dataset.sizes["sample"],
        "temperature": provenance_of(dataset).get("temperature"),
        "settings": {str(n): v.attrs["settings"] for n, v in dataset.data_vars.items() if "settings" in v.attrs},
        "cells": [entry for cell in genre_cells(dataset) for entry in entries(cell, draws)],
    }


def headline(found: dict[str, Any]) -> str:
    """One row a task and stage."""
    entries = [entry for entry in found["cells"] if entry["prompts"] == "all"]
    names = [name for name in HEADLINE if entries and name in entries[0]["levels"]]
    rows = [
        [entry["genre"], entry["stage"], entry.get("string", ""), *(interval(entry["levels"][name]) for name in names)]
        for entry in entries
    ]
    return table(("task", "stage", "modal string", *names), rows)


def entries(cell: xr.Dataset, draws: int) -> list[dict[str, Any]]:
    """One cell, one entry a stage."""
    templates = cell["template"].values.tolist()
    measured = of_columns(cell, templates, draws)
    if PARTS[0] in cell:
        measured |= of_calibration(cell, templates, draws)
    return [
        {
            **heading(cell, stage),
            "levels": {name: found.at(0, number) for name, found in measured.items()},
            "differences": {name: found.at(1, number) for name, found in measured.items()},
            **named_strings(cell, number),
        }
        for number, stage in enumerate(cell["stage"].values.tolist())
    ]  # fmt: skip


def named_strings(cell: xr.Dataset, stage: int) -> dict[str, Any]:
    """The modal strings of a task; none of all tasks together."""
    if cell.attrs["cell"] not in cell["task"].values and cell.sizes["task"] > 1:
        return {}
    task = cell["task"].values.tolist().index(cell.attrs["cell"]) if cell.sizes["task"] > 1 else 0
    texts = cell["modal_string"].isel(stage=stage, task=task).values.tolist()
    own, chance, base = (cell[name].isel(stage=stage).mean("prompt").values for name in OF_STRINGS)
    place = longest(own - (base if stage else chance))
    return {
        "strings": dict(zip(map(str, cell["length"].values.tolist()), texts, strict=True)),
        "string": texts[place],
        "string_share": float(own[place]),
        "string_excess": float((own - (base if stage else chance))[place]),
    }


def longest(excess: np.ndarray) -> int:
    """The place of the longest string whose excess is nearly the largest."""
    return int(np.flatnonzero(excess >= NEARLY * excess.max()).max()) if excess.max() > 0 else 0


def of_columns(cell: xr.Dataset, templates: Sequence[str], draws: int) -> dict[str, Interval]:
    """Every measure that is a mean over prompts."""
    columns = {name: cell[name].mean("sample", skipna=True) for name in OF_SAMPLES}
    for length in cell["length"].values.tolist():
        own, chance, base = (cell[name].sel(length=length) for name in OF_STRINGS)
        columns |= {f"{name}_{length}": cell[name].sel(length=length) for name in OF_STRINGS}
        columns |= {f"beyond_chance_{length}": own - chance, f"beyond_base_{length}": own - base}
    table = np.stack([each.transpose("prompt", "stage").values.astype(float) for each in columns.values()], axis=-1)

    def statistic(values: np.ndarray) -> np.ndarray:
        return mean_over_prompts(values).T

    interval = resampled(table, cell["genre"].values.tolist(), templates, statistic, draws, moved=False)
    return {name: Interval(*(end[:, number] for end in interval)) for number, name in enumerate(columns)}


def of_calibration(cell: xr.Dataset, templates: Sequence[str], draws: int) -> dict[str, Interval]:
    """ECE and overconfidence, from the means over prompts of what the bins hold."""
    table = np.stack([cell[name].transpose("prompt", "stage", "bin").values.astype(float) for name in PARTS], axis=2)

    def statistic(values: np.ndarray) -> np.ndarray:
        parts = mean_over_prompts(values)
        return np.stack([calibration_error(parts), overconfidence(parts)])

    interval = resampled(table, cell["genre"].values.tolist(), templates, statistic, draws, moved=False)
    names = ("calibration_error", "overconfidence")
    return {name: Interval(*(end[:, number] for end in interval)) for number, name in enumerate(names)}
