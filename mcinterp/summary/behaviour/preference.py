"""How far the stages changed the base's order of tokens, with intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.sharpening import SHIFT_CLASSES
from mcinterp.statistics import bootstrap
from mcinterp.summary.behaviour.lines import interval, table

ORDER = ("greedy_gap", "kendall_tau", "top_k_jaccard")
SHOWN = (*SHIFT_CLASSES, *ORDER)
BY_RANK = ("log_prob_change", "mass_change", "raised_share")
WHERE: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "all": lambda dataset: dataset,
    "first": lambda dataset: dataset.sel(position=dataset["position"] == 0),
    "later": lambda dataset: dataset.sel(position=dataset["position"] > 0),
}


def summary(dataset: xr.Dataset, *, draws: int = 1000) -> dict[str, Any]:
    """Shares of URIAL classes, agreement of orders, and changes by base rank, for every stage and text.

    Under `all` prompts and those `held_out`, by stage and text (`own`, `base`): for all tokens, the `first` and `later`
    ones the shares of `unshifted`, `marginal` and `shifted` among greedy tokens that do not end the text, the same of
    those that end it under `ending`, `greedy_gap`, `kendall_tau`, `top_k_jaccard`, and `by_base_rank`. A measure is
    the mean over prompts of each prompt's mean over tokens, with its 95 % interval over templates; missing where there
    is no token.
    """
    held_out = dataset.sel(prompt=dataset["held_out"])
    sides = {"all": dataset, **({"held_out": held_out} if held_out.sizes["prompt"] else {})}
    return {
        "base": provenance_of(dataset).get("base"),
        "stages": dataset["stage"].values.tolist(),
        "n_prompts": dataset.sizes["prompt"],
        **{name: of_side(side, draws) for name, side in sides.items()},
    }


def headline(found: dict[str, Any]) -> str:
    """One row a stage, text and kind of place."""
    rows = [
        [stage, text, place, *(interval(entry[name], 3) for name in SHOWN)]
        for stage, texts in found["all"].items()
        for text, places in texts.items()
        for place, entry in places.items()
    ]
    return table(["stage", "text", "tokens", *(name.replace("_", " ") for name in SHOWN)], rows)


def of_side(dataset: xr.Dataset, draws: int) -> dict[str, Any]:
    """By stage, text and place."""
    return {
        stage: {
            along: {where: entry(cut(dataset.sel(stage=stage, along=along)), draws) for where, cut in WHERE.items()}
            for along in dataset["along"].values.tolist()
        }
        for stage in dataset["stage"].values.tolist()
    }


def entry(read: xr.Dataset, draws: int) -> dict[str, Any]:
    """The figures of one stage, text and place."""
    groups = read["template"].values.tolist()
    there = read["shift_class"] >= 0
    ending = there & (read["greedy_ends"] == 1)
    classes = {name: read["shift_class"] == index for index, name in enumerate(provenance_of(read)["classes"])}
    order = {name: read[name] for name in ORDER}

    def of(arrays: dict[str, xr.DataArray], kept: xr.DataArray) -> dict[str, Any]:
        means = [array.astype(float).where(kept).mean("position").values for array in arrays.values()]
        found = bootstrap(np.stack(means, axis=-1), groups, draws=draws)
        return {name: found.at(index) for index, name in enumerate(arrays)}

    return {
        "n_tokens": int((there & ~ending).sum()),
        **of(classes, there & ~ending),
        **of(order, there),
        "ending": {"n_tokens": int(ending.sum()), **of(classes, ending)},
        "by_base_rank": by_base_rank(read, groups, draws),
    }


def by_base_rank(read: xr.Dataset, groups: list[str], draws: int) -> dict[str, dict[str, dict[str, float]]]:
    """What became of the tokens of every bin of base ranks."""
    means = [read[name].mean("position").transpose("prompt", "base_rank").values.astype(float) for name in BY_RANK]
    found = bootstrap(np.stack(means, axis=-1), groups, draws=draws)
    return {
        name: {measure: found.at(index, m) for m, measure in enumerate(BY_RANK)}
        for index, name in enumerate(read["base_rank"].values.tolist())
    }
