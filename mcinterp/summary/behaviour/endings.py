"""How open endings are: outcomes at the start and behind every branch, when they are decided, and which are lost."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.behaviour.endings.measures import shares, vanished
from mcinterp.results import provenance_of
from mcinterp.statistics import bootstrap, mean_over_prompts
from mcinterp.summary.behaviour.cells import genre_cells, heading
from mcinterp.summary.behaviour.lines import interval, table

BY_BRANCH = {"entropy": "outcome_entropy", "favourite": "favourite_outcome_share", "same": "outcome_collision"}
NAMED = 3
LEAST = 0.1


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """One entry a genre (and all of them), side (all prompts, those held out) and stage.

    Means over prompts with their 95 % interval over templates (`mean`, `ci_low`, `ci_high`). By branch, along the
    stage's `own` stories and the `base`'s: `entropy` (nats), `favourite` (share of the commonest outcome), `same` (two
    texts end alike). Along its own: `information` of beginnings (nats) and `decided`, that over the entropy at the
    start (missing below `LEAST` nats); `half_decided` is the first branch where it is a half. At the start:
    `unfinished`, `other`, `rare_kept` (the number of different outcomes of a prompt that are rare in the base, over the
    base's) and `vanished`: the outcomes of a genre that no text of the stage has, with the base's share, where chance
    would leave one of them out in 1 of 100 runs. `exact` is the share of places on the base's story whose outcomes are
    exact.
    """
    how, stages = provenance_of(dataset), dataset["stage"].values.tolist()
    return {
        "stages": stages,
        "branches": dataset["branch"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        "settings": {name: how.get(name) for name in ("samples", "unit", "length", "exact_from", "nodes")},
        "cells": [entry(cell, stage, draws) for cell in genre_cells(dataset) for stage in stages],
    }


def headline(found: dict[str, Any]) -> str:
    """One row a genre and stage, and the outcomes that vanished."""
    last, rows = str(found["branches"][-1]), []
    middle = str(found["branches"][len(found["branches"]) // 2])
    for cell in found["cells"]:
        if cell["prompts"] == "all":
            own, base, decided = cell["own"], cell["base"], cell["decided"]
            figures = (own["entropy"]["0"], own["favourite"]["0"], decided[middle], decided[last],
                       base["entropy"][middle], cell["rare_kept"])  # fmt: skip
            lost = ", ".join(
                f"{each['outcome'].strip()} ({each['base_share']:.2f})" for each in cell["vanished"][:NAMED]
            )
            more = f", and {len(cell['vanished']) - NAMED} more" if len(cell["vanished"]) > NAMED else ""
            rows.append([cell["genre"], cell["stage"], *map(interval, figures), " ".join((lost + more).split())])
    return table(
        ("genre", "stage", "H(outcome)", "favourite", f"decided by {middle}", f"decided by {last}",
         f"H behind {middle} of the base's", "rare kept", "vanished (base's share)"), rows,
    )  # fmt: skip


def entry(cell: xr.Dataset, stage: str, draws: int) -> dict[str, Any]:
    """The figures of one stage on some prompts."""
    columns = columns_of(cell, stage)
    names = list(columns)
    made: list[str] = []

    def statistic(values: np.ndarray) -> np.ndarray:
        means = derived(dict(zip(names, mean_over_prompts(values).tolist(), strict=True)))
        made[:] = list(means)
        return np.asarray(list(means.values()))

    templates = cell["template"].values.tolist()
    found = bootstrap(np.stack(list(columns.values()), axis=-1), templates, statistic, draws=draws)
    nested = nest({name: found.at(index) for index, name in enumerate(made)})
    halves = [int(branch) for branch, value in nested["decided"].items() if value["mean"] >= 0.5]
    return {
        **heading(cell, stage),
        **nested,
        "half_decided": min(halves, default=None),
        "vanished": lost(cell, stage),
    }


def columns_of(cell: xr.Dataset, stage: str) -> dict[str, np.ndarray]:
    """Every figure of every prompt, of one stage; names say what is nested in what."""
    one, base = cell.sel(stage=stage), cell.isel(stage=0)
    columns = {}
    for branch in cell["branch"].values.tolist():
        at = one.sel(branch=branch)
        for path in ("own", "base"):
            columns |= {f"{path}/{name}/{branch}": at[variable].sel(path=path) for name, variable in BY_BRANCH.items()}
        columns[f"information/{branch}"] = at["outcome_information"].sel(path="own")
    start = one.sel(path="own").isel(branch=0)
    columns |= {
        "unfinished": start["unfinished_share"],
        "other": start["other_share"],
        "rare_kept": one["rare_outcomes"],
        "rare_of_base": base["rare_outcomes"],
        "exact": one["outcome_exact"].sel(path="base").mean("branch"),
        "surprise": cell["base_surprise"],
    }
    return {name: values.values.astype(float) for name, values in columns.items()}


def derived(means: dict[str, float]) -> dict[str, float]:
    """Shares of means: what is decided, and what of the rare is kept."""
    start, rare = means["own/entropy/0"], means.pop("rare_of_base")
    decided = {
        name.replace("information", "decided"): value / start if start > LEAST else np.nan
        for name, value in means.items()
        if name.startswith("information/")
    }
    return {**means, **decided, "rare_kept": means["rare_kept"] / rare if rare > 0 else np.nan}


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Names with slashes as dictionaries in dictionaries."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *outer, last = name.split("/")
        inner = found
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


def lost(cell: xr.Dataset, stage: str) -> list[dict[str, Any]]:
    """The outcomes of every genre of a cell that vanished, the commonest of the base first."""
    found = []
    for genre in dict.fromkeys(cell["genre"].values.tolist()):
        base, own, names = (pooled(cell, genre, name) for name in (str(cell["stage"].values[0]), stage, None))
        gone, share = vanished(base, own), shares(base)
        found += [
            {"genre": genre, "outcome": str(names[n]), "base_share": float(share[n]), "n_texts": int(own.sum())}
            for n in np.flatnonzero(gone[: len(names)]).tolist()
        ]
    return sorted(found, key=lambda each: -each["base_share"])


def pooled(cell: xr.Dataset, genre: str, stage: str | None) -> np.ndarray:
    """How many texts of a genre have each outcome at the start, any other last; without a stage the outcomes' names."""
    here = cell.sel(prompt=cell["genre"] == genre, path="own").isel(branch=0)
    listed = here["outcome_name"].values
    names = [name for name in dict.fromkeys(listed.ravel().tolist()) if name]
    if stage is None:
        return np.asarray(names)
    samples = int(provenance_of(cell).get("samples", 1))
    one = here.sel(stage=stage)
    share = one["outcome_share"].transpose("prompt", "outcome").values
    counts = [float(np.nansum(np.where(listed == name, share, 0.0))) for name in names]
    return np.round(np.asarray([*counts, float(one["other_share"].sum())]) * samples)
