"""The benchmark's figures by kind of plant: means with intervals over plants, and counts of verdicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import derived
from mcinterp.statistics import bootstrap

KINDS = ("easy", "hard", "multi", "relay", "upstream", "or", "and", "activation", "lora", "head", "negative")
HALVES = ("development", "report")
ALL = "all"
MEANS = ("top_1", "mean_rank", "auroc", "share_on_truth", "verdict_right", "upstream_right", "seconds", "failed")
FAILED = "failed"
DRAWS = 1000


def by_kind(found: xr.Dataset, half: str, *, draws: int = DRAWS, seed: int = 0) -> xr.Dataset:
    """Means over the tasks of one half, by kind and of all kinds together, with 95 % intervals over plants.

    Over `kind, method`: every figure of `MEANS` with `_low` and `_high`, by bootstrap over whole plants (a plant is one
    seed; its tasks are drawn together), missing where a kind has one plant only; over `kind`: `tasks`, `plants`
    and `placed`, the tasks that have a true place.
    Raises `InputError` for a half of which there is no task.
    """
    mine = of_half(found, half)
    kinds = [*in_order(mine["kind"].values.tolist()), ALL]
    pieces = [of_kind(mine, kind, draws, seed) for kind in kinds]
    dataset = xr.concat(pieces, dim=xr.DataArray(kinds, dims="kind", name="kind"))
    return derived(dataset, found, analysis="benchmark_by_kind", half=half, draws=draws, seed=seed)


def of_half(found: xr.Dataset, half: str) -> xr.Dataset:
    """The tasks of one half; `InputError` where there is none."""
    mine = found.isel(task=np.flatnonzero(found["half"].values == half))
    if not mine.sizes["task"]:
        there = ", ".join(sorted(set(found["half"].values.tolist())))
        raise InputError(f"no task of the half {half!r} was run; give one of {there}.")
    return mine


def in_order(kinds: Sequence[str]) -> list[str]:
    """Kinds once each, from easy to telling; those without a place in that order after them."""
    there = list(dict.fromkeys(kinds))
    return [*(kind for kind in KINDS if kind in there), *(kind for kind in there if kind not in KINDS)]


def of_kind(found: xr.Dataset, kind: str, draws: int, seed: int) -> xr.Dataset:
    """Means of one kind (or of all) over `method`, with their intervals."""
    mine = found if kind == ALL else found.isel(task=np.flatnonzero(found["kind"].values == kind))
    plants = mine["plant"].values.tolist()
    values = np.stack([mine[name].transpose("task", "method").values for name in MEANS], axis=1).astype(float)
    ends = bootstrap(values, plants, draws=draws, seed=seed)
    data: dict[str, Any] = {}
    for suffix, end in zip(("", "_low", "_high"), ends, strict=True):
        data |= {f"{name}{suffix}": ("method", end[i].astype(np.float32)) for i, name in enumerate(MEANS)}
    placed = int(mine["top_1"].notnull().any("method").sum())
    data |= {"tasks": len(plants), "plants": len(set(plants)), "placed": placed}
    return xr.Dataset(data, coords={"method": mine["method"].values})


def at(means: xr.Dataset, kind: str, method: str) -> xr.Dataset:
    """Figures of one kind and method."""
    return means.sel({"kind": kind, "method": method})


def judges(means: xr.Dataset) -> list[str]:
    """Methods that answer with a verdict."""
    given = means["verdict_right"].sel(kind=ALL).notnull()
    return means["method"].values[given.values].tolist()


def confusion(found: xr.Dataset, half: str, method: str) -> dict[str, dict[str, int]]:
    """How often each expected verdict was answered by each one; an answer that failed stands under `failed`."""
    mine = of_half(found, half).sel({"method": method})
    counts: dict[str, dict[str, int]] = {}
    for expected, given in zip(mine["expected_verdict"].values, mine["given_verdict"].values, strict=True):
        row = counts.setdefault(str(expected), {})
        name = str(given) or FAILED
        row[name] = row.get(name, 0) + 1
    return counts


def plain(found: xr.Dataset, half: str) -> dict[str, Any]:
    """Everything that the tables of one half show, as plain data."""
    means = by_kind(found, half)
    kinds, methods = means["kind"].values.tolist(), means["method"].values.tolist()
    table = {
        kind: {
            "tasks": int(means["tasks"].sel(kind=kind)),
            "plants": int(means["plants"].sel(kind=kind)),
            "methods": {name: figures(at(means, kind, name)) for name in methods},
        }
        for kind in kinds
    }
    return {"kinds": table, "verdicts": {name: confusion(found, half, name) for name in judges(means)}}


def figures(one: xr.Dataset) -> dict[str, dict[str, float]]:
    """Means of one method and kind with their intervals."""
    ends = {"mean": "", "low": "_low", "high": "_high"}
    return {name: {key: float(one[f"{name}{end}"]) for key, end in ends.items()} for name in MEANS}
