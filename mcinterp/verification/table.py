"""A proof in figures, without a model: means over prompts with intervals, and how much of what was lost came back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.effects import DRAWS, labels, share_of_gap
from mcinterp.results import derived
from mcinterp.statistics import Interval, bootstrap

BY_PROMPT = ("entropy", "attractor_log_odds", "kl_to_base", "distinct", "sample_nll")
BY_CONTROL = ("control_kl", "control_agreement")
REGAINED = {"regained": "entropy", "log_odds_regained": "attractor_log_odds", "distinct_regained": "distinct"}
ENDS = {"_low": "lower end of its 95 % interval", "_high": "upper end of its 95 % interval"}


def verification_table(dataset: xr.Dataset, *, draws: int = DRAWS, seed: int = 0) -> xr.Dataset:
    """What each edit of `mcinterp.verification.verifying.verify` does, in means with 95 % intervals over templates.

    Over `part, edit`: every measure of the dataset, and `regained`, `log_odds_regained`, `distinct_regained`: the mean
    of edit minus tuned over the mean of base minus tuned (missing where that is below 0.1 in size); over `edit`:
    `control_kl` and `control_agreement`. Each with `_low` and `_high`, its ends by bootstrap over templates.
    """
    parts = list(dict.fromkeys(dataset["part"].values.tolist()))
    pieces = [part_intervals(dataset.sel(prompt=dataset["part"] == part), draws, seed) for part in parts]
    data = {}
    for name in pieces[0]:
        data |= columns(
            name, ("part", "edit"), [np.stack(ends) for ends in zip(*(p[name] for p in pieces), strict=True)]
        )
    for name in (name for name in BY_CONTROL if name in dataset):
        templates = dataset["control_template"].values.tolist()
        found = bootstrap(by_edit(dataset[name], "control"), templates, draws=draws, seed=seed)
        data |= columns(name, ("edit",), found)
    coords = {**labels(dataset["entropy"], ("edit",)), "part": parts}
    table = derived(xr.Dataset(data, coords=coords), dataset, analysis="verification_table", draws=draws, seed=seed)
    said = {key: value for key, value in dataset.attrs.items() if key != "provenance"}
    return with_ends_described(table).assign_attrs(said)


def by_edit(values: xr.DataArray, axis: str) -> np.ndarray:
    """Values with the prompts (or controls) first, then the edits."""
    return values.transpose(axis, "edit").values.astype(float)


def part_intervals(part: xr.Dataset, draws: int, seed: int) -> dict[str, Interval]:
    """Every figure of the prompts of one part, over edits."""
    templates = part["template"].values.tolist()
    values = {name: by_edit(part[name], "prompt") for name in BY_PROMPT}
    found = {name: bootstrap(each, templates, draws=draws, seed=seed) for name, each in values.items()}
    row = {name: part["edit"].values.tolist().index(name) for name in ("tuned", "base")}
    for name, of in REGAINED.items():
        both = changes(values[of], row)
        found[name] = bootstrap(both, templates, share_of_gap, draws=draws, seed=seed)
    return found


def changes(values: np.ndarray, row: Mapping[str, int]) -> np.ndarray:
    """Edit minus tuned, and base minus tuned beside it: over prompt, (edit, gap), edit."""
    tuned, base = values[:, [row["tuned"]]], values[:, [row["base"]]]
    return np.stack([values - tuned, np.broadcast_to(base - tuned, values.shape)], axis=1)


def columns(name: str, dims: tuple[str, ...], found: Sequence[np.ndarray]) -> dict[str, Any]:
    """A figure and its two ends as variables."""
    return {f"{name}{end}": (dims, value.astype(np.float32)) for end, value in zip(("", *ENDS), found, strict=True)}


def with_ends_described(table: xr.Dataset) -> xr.Dataset:
    """The table with units and definitions of the ends, which are those of their figure."""
    for name in (*BY_PROMPT, *BY_CONTROL, *REGAINED):
        for end, said in ENDS.items() if name in table else ():
            attributes = table[name].attrs
            table[f"{name}{end}"].attrs.update(attributes, long_name=f"{attributes['long_name']}: {said}")
    return table
