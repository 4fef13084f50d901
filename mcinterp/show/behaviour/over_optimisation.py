"""The picture of a run: reward and gold, attractor and dependence on the prompt, against sqrt(KL)."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.show.theme import FAINT, LINE, MUTED, stage_colours, stage_scale, themed
from mcinterp.statistics import ENDS
from mcinterp.summary.behaviour.over_optimisation import summary

DRAWS = 300
WIDE, HIGH = 250, 165
ROOM, APART = 1.28, 0.06
MANY = 7
X = "sqrt(KL(stage || base)) in sqrt(nats)"
PANELS = {
    "reward": ("Reward that is optimised", "mean reward"),
    "gold": ("Gold reward", "mean gold"),
    "attractor": ("Samples with the attractor", "share"),
    "ending_information": ("I(prompt; ending cluster)", "nats, chance taken off"),
    "effective_clusters": ("Effective clusters of endings", "exp(H)"),
    "jump_after_document": ("Attractor behind finished texts", "share"),
}


def picture(dataset: xr.Dataset) -> Any:
    """Every measure of the stages, joined in order of training and labelled by step (or name), against sqrt(KL).

    Means over all prompts with 95 % intervals over templates; the attractor is that of the run.
    """
    found = summary(dataset, draws=DRAWS)
    table = pd.DataFrame(rows(found, named(found)))
    names = [name for name in PANELS if name in set(table["measure"])]
    stages = found["stages"]
    lines = [
        alt.hconcat(*(panel(table, name, stages, under) for name in part), spacing=26)
        for part, under in ((names[::2], len(names) == 1), (names[1::2], True))
        if part
    ]
    word = f"Attractor of the run: “{found['attractor']}”" if found["attractor"] else "The run has no attractor"
    title = alt.Title(word, fontWeight="normal", fontSize=12, color=LINE, offset=12)
    return themed(alt.vconcat(*lines, spacing=14).properties(title=title))


def whole(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of all prompts, in order of training."""
    return [cell for cell in found["cells"] if cell["prompts"] == "all"]


def named(found: dict[str, Any]) -> set[str]:
    """The stages that have room for a label: the last, and those that stand apart from it and from those before."""
    places = {cell["stage"]: cell["levels"]["sqrt_kl"]["mean"] for cell in whole(found)}
    least = APART * max(places.values())
    kept = {found["stages"][-1]: places[found["stages"][-1]]}
    for stage, place in places.items():
        if all(abs(place - other) >= least for other in kept.values()):
            kept[stage] = place
    return set(kept)


def rows(found: dict[str, Any], named: set[str]) -> list[dict[str, Any]]:
    """One row a stage and measure, with where the stage stands and what it is called."""
    cells = whole(found)
    table, before = [], 0.0
    for order, cell in enumerate(cells):
        step = cell["training_step"]
        label = cell["stage"] if np.isnan(step) else f"{step:.0f}"
        x = cell["levels"]["sqrt_kl"]["mean"]
        side, before = ("left" if x < before else "right"), x
        for name in PANELS:
            if name in cell["levels"]:
                level = {end: cell["levels"][name][end] for end in ENDS}
                place = {"x": x, "label": label, "named": cell["stage"] in named, "side": side, "order": order}
                table.append({"measure": name, "stage": cell["stage"], **place, **level})
    return table


def panel(table: pd.DataFrame, name: str, stages: list[str], under: bool) -> Any:
    """One measure against sqrt(KL)."""
    here = table[table["measure"] == name]
    title, axis = PANELS[name]
    reach = alt.Scale(domain=[0, max(ROOM * float(np.max(here["x"])), 0.1)], nice=False)
    x = alt.X("x:Q", title=X if under else None, scale=reach, axis=alt.Axis(grid=False, tickCount=5))
    y = alt.Y("mean:Q", title=axis, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5, minExtent=30))
    colour = alt.Color("stage:N", scale=colours(stages), legend=None)
    plain = alt.Chart(here).encode(x=x)
    path = plain.mark_line(color=FAINT, strokeWidth=1.5).encode(y=y, order="order:O")
    spread = plain.mark_rule(strokeWidth=1.5).encode(y=alt.Y("ci_low:Q", title=axis), y2="ci_high:Q", color=colour)
    tooltip = ["stage", *(alt.Tooltip(f"{end}:Q", format=".3f") for end in ("x", *ENDS))]
    points = plain.mark_point(filled=True, opacity=1, size=45).encode(y=y, color=colour, tooltip=tooltip)
    return alt.layer(path, spread, points, *labels(plain, y)).properties(
        width=WIDE, height=HIGH, title=alt.Title(title, frame="group")
    )


def colours(stages: list[str]) -> alt.Scale:
    """The stages' colours; of many stages, one for all between the base and the last."""
    if len(stages) <= MANY:
        return stage_scale(stages)
    ends = stage_colours([stages[0], stages[-1]])
    return alt.Scale(domain=stages, range=[ends.get(stage, MUTED) for stage in stages])


def labels(plain: Any, y: alt.Y) -> list[Any]:
    """What stages are called: to the right of the dot, or to the left where the run turned back to the base."""
    sides = {"right": ("left", 6), "left": ("right", -6)}
    return [
        plain.transform_filter(f"datum.named && datum.side == '{side}'")
        .mark_text(align=align, dx=dx, dy=-7, fontSize=10, color=LINE)
        .encode(y=y, text="label:N")
        for side, (align, dx) in sides.items()
    ]
