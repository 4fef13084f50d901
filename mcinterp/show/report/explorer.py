"""Prompts to look at one by one: lens cells packed so that a page can hold many, which its script unpacks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.landmarks import depth_curve, final_distribution, most_changed_prompts
from mcinterp.results import token_text
from mcinterp.show import circuits
from mcinterp.show.figures import visible

BEFORE, AFTER, CHOICES = 5, 10, 3
BUDGET, LEAST = 1_500_000, 8
CELL = 9  # bytes that one cell's entropy and each of its choices take, about


def explored(lens: xr.Dataset) -> list[int]:
    """The prompts that the page holds: those that changed most, as many as its budget of bytes lets in, in order."""
    depths = depth_curve(lens["entropy"]).sizes["depth"]
    one = depths * (BEFORE + AFTER) * 2 * lens.sizes["lens"] * CELL * 3
    count = min(lens.sizes["prompt"], max(LEAST, BUDGET // one))
    return sorted(most_changed_prompts(lens, count))


def packed_prompts(lens: xr.Dataset, prompts: Sequence[int]) -> dict[str, Any]:
    """Everything that the picker shows: the strings of tokens once, then every prompt by its number."""
    text = token_text(lens)
    table: dict[int, int] = {}
    cells = {str(prompt): packed(lens, prompt, table) for prompt in prompts}
    return {
        "strings": [visible(text[index]) for index in table],
        "depths": depth_curve(lens["entropy"])["depth"].values.tolist(),
        "cells": cells,
        "tokens": {str(prompt): token_components(lens, prompt) for prompt in prompts},
    }


def token_components(lens: xr.Dataset, prompt: int) -> list[circuits.Component]:
    """What every stage gave to every token; of base and last stage with the likeliest tokens on hover, if read."""
    stages = lens["stage"].values.tolist()
    one = final_distribution(lens.isel(prompt=prompt))
    read = bool(one["next_log_prob"].where(one["token_id"] >= 0).isel(stage=0)[:-1].notnull().any())
    hovered = [circuits.token_alternatives(lens, prompt, stages[i]) for i in (0, -1)] if read else []
    return [*hovered, circuits.token_probabilities(lens, prompt)]


def packed(lens: xr.Dataset, prompt: int, table: dict[int, int]) -> dict[str, Any]:
    """The cells of one prompt: names of its columns, and by lens for base and tuned, depth by depth and in each column
    by column, entropies in thousandths of a nat, and the best tokens' places in `table` with their percentages.
    """
    one = lens.isel(prompt=prompt, stage=[0, -1])
    read = one["entropy"].notnull().any(["stage", "layer", "site", "lens"])
    window = one.sel(position=read & (one["position"] > -BEFORE) & (one["position"] < AFTER))
    columns = [
        f"{position} {visible(token)}"
        for position, token in zip(window["position"].values.tolist(), window["token"].values.tolist(), strict=True)
    ]
    return {"columns": columns, "lenses": {name: packed_lens(window.sel(lens=name), table)
                                           for name in lens["lens"].values.tolist()}}  # fmt: skip


def packed_lens(window: xr.Dataset, table: dict[int, int]) -> list[dict[str, Any]]:
    """One lens of base and tuned; tokens that `table` lacks are added to it."""
    order = ("stage", "depth", "position")
    entropy = depth_curve(window["entropy"]).transpose(*order).values
    ids, shares = (
        depth_curve(window[f"top_{name}"]).transpose(*order, "choice").values[..., :CHOICES]
        for name in ("token", "probability")
    )
    stages = []
    for values, tokens, probabilities in zip(entropy, ids, shares, strict=True):
        places = [table.setdefault(int(token), len(table)) for token in tokens.ravel()]
        stages.append({
            "entropy": np.round(1000 * np.nan_to_num(values)).astype(int).ravel().tolist(),
            "best": places,
            "percent": np.round(100 * np.nan_to_num(probabilities)).astype(int).ravel().tolist(),
        })  # fmt: skip
    return stages
