"""The picture of a multiverse: one prompt's blocks under every stage, and what the trees of all prompts measure."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.behaviour.multiverse.views import branch, tree_of
from mcinterp.results import provenance_of
from mcinterp.show.behaviour.multiverse_blocks import icicles
from mcinterp.show.behaviour.panels import colour
from mcinterp.show.marks import small
from mcinterp.show.theme import MUTED, themed
from mcinterp.statistics import bootstrap

SMALL, FLAT, DRAWS, LISTED = 196, 125, 300, 8
NEWLINE = "\n"


def picture(dataset: xr.Dataset, prompt: int | None = None, beginning: str | None = None) -> Any:
    """Blocks of one prompt, a panel a stage, above measures over all prompts.

    Block height is probability, columns are tokens, a full colour is a sure next token, black ends a text, and grey
    was cut off; all stages have the same order of branches. Words mark runs of sure tokens. In a browser a click on a
    block enlarges it in every panel, so that its own probability becomes 1, and a double click goes back. Without a
    `prompt` the held-out one is drawn whose likeliest text gains most in some stage; `beginning` starts from a branch.

    Raises:
        InputError: for a prompt or a beginning that the dataset does not hold.
    """
    tree = tree_of(dataset, most_gained(dataset) if prompt is None else prompt)
    said = str(tree["text"].values)
    if beginning is not None:
        tree, said = branch(tree, beginning), said + beginning
    title = alt.TitleParams(
        f"All continuations of: {said.replace(NEWLINE, ' / ')}", subtitle=reading(dataset), subtitleColor=MUTED
    )
    return themed(alt.vconcat(icicles([tree]).properties(title=title), measured(dataset), spacing=22))


def explorer(dataset: xr.Dataset, prompts: Sequence[int] | None = None) -> Any:
    """The blocks of several prompts, chosen from a list; by default those of `LISTED` templates that gained most.

    `explorer(dataset).save("name.html", inline=True)` is a page that needs no network.
    """
    if prompts is None:
        best: dict[str, int] = {}
        for prompt in np.argsort(-gained(dataset).values, kind="stable").tolist():
            best.setdefault(str(dataset["template"].values[prompt]), prompt)
        prompts = list(best.values())[:LISTED]
    title = alt.TitleParams("All continuations", subtitle=reading(dataset), subtitleColor=MUTED)
    return themed(icicles([tree_of(dataset, prompt) for prompt in prompts]).properties(title=title))


def reading(dataset: xr.Dataset) -> str:
    """How blocks are read."""
    least = provenance_of(dataset).get("least", 0)
    return f"height: probability; column: token; black: the text ends; grey: continuations below {least:g} everywhere"


def gained(dataset: xr.Dataset) -> xr.DataArray:
    """How much the likeliest prefix, while texts go on, gains from the base to some stage, by prompt."""
    going_on = (dataset["top_mass"] - dataset["ended_mass"]).mean("step")
    return (going_on - going_on.isel(stage=0)).max("stage")


def most_gained(dataset: xr.Dataset) -> int:
    """The prompt that gained most, of those held out where there are any."""
    held = dataset["held_out"] if bool(dataset["held_out"].any()) else ~dataset["held_out"]
    return int(gained(dataset).where(held).idxmax("prompt"))


def measured(dataset: xr.Dataset) -> Any:
    """Measures over all prompts: means, with 95 % intervals over templates of those by depth."""
    whole = (dataset["half_life"] > dataset["step"]).astype(float)
    whole = whole.where(dataset["half_life"].notnull())
    panels = [
        curve(dataset, dataset["top_mass"], "Likeliest prefix", "probability"),
        curve(dataset, whole, "Greedy path still above one half", "share of prompts"),
        curve(dataset, dataset["n_likely"], "Likely prefixes", "count"),
        known(dataset),
    ]
    return alt.hconcat(*panels, spacing=10)


def curve(dataset: xr.Dataset, values: xr.DataArray, title: str, axis: str) -> Any:
    """One measure by depth, a line a stage."""
    templates = dataset["template"].values.tolist()
    found = bootstrap(values.transpose("prompt", "stage", "step").values.astype(float), templates, draws=DRAWS)
    ends = dict(zip(("mean", "low", "high"), found, strict=True))
    line = by_depth(dataset, ends).mark_line(strokeWidth=1.8)
    line = line.encode(y=alt.Y("mean:Q", title=axis, scale=alt.Scale(zero=True)))
    band = by_depth(dataset, ends).mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title=axis), y2="high:Q")
    return alt.layer(band, line).properties(width=SMALL, height=FLAT, title=small(title))


def known(dataset: xr.Dataset) -> Any:
    """The bounds of the forking strength of the first token, and of the strongest later one of the greedy text."""
    stages, rows = dataset["stage"].values.tolist(), []
    for place, steps in (("first token", slice(0, 1)), ("later, strongest", slice(1, None))):
        ends = {
            end: dataset[f"fork_{end}"].isel(step=steps).max("step").mean("prompt").values for end in ("low", "high")
        }
        rows.append(pd.DataFrame({"stage": stages, "place": place, **ends}))
    bars = (
        alt.Chart(pd.concat(rows))
        .mark_bar(height=9, opacity=0.75)
        .encode(
            x=alt.X("low:Q", title="share of outcomes", scale=alt.Scale(domain=[0, 1])),
            x2="high:Q",
            y=alt.Y("place:N", title=None, axis=alt.Axis(domain=False, ticks=False)),
            yOffset=alt.YOffset("stage:N", sort=stages),
            color=colour(stages),
            tooltip=["stage", "place", *(alt.Tooltip(f"{end}:Q", format=".3f") for end in ("low", "high"))],
        )
    )
    return bars.properties(width=SMALL - 70, height=FLAT, title=small("Forking, least to most"))


def by_depth(dataset: xr.Dataset, ends: Mapping[Any, np.ndarray]) -> Any:
    """A chart of values over stage and depth, in the stages' colours."""
    stages = dataset["stage"].values.tolist()
    index = pd.MultiIndex.from_product([stages, dataset["step"].values.tolist()], names=["stage", "step"])
    table = pd.DataFrame({name: np.ravel(end) for name, end in ends.items()}, index=index).reset_index()
    return alt.Chart(table).encode(
        x=alt.X("step:Q", title="tokens after the prompt", axis=alt.Axis(grid=False), scale=alt.Scale(nice=False)),
        color=colour(stages),
        tooltip=["stage", "step", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ends)],
    )
