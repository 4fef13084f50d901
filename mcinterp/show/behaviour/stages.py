"""The picture of a chain: one small panel a measure, the stages in order."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.show.behaviour.panels import colour
from mcinterp.show.theme import MUTED, themed
from mcinterp.summary.behaviour.stages import MEASURES, summary

WIDTH, HEIGHT, COLUMNS = 150, 120, 4


def picture(dataset: xr.Dataset) -> Any:
    """Means of every measure along the chain with 95 % intervals over templates.

    Between two stages the line is solid where the interval of the step excludes zero, and dotted where it does not.
    """
    figures = summary(dataset)
    panels = [panel(figures, name) for name in MEASURES]
    rows = [alt.hconcat(*panels[start : start + COLUMNS]) for start in range(0, len(panels), COLUMNS)]
    title = alt.TitleParams(
        f"Stage by stage ({figures['n_prompts']} prompts)", subtitle="solid: a step whose 95 % interval excludes zero",
        subtitleColor=MUTED, offset=12,
    )  # fmt: skip
    return themed(alt.vconcat(*rows).properties(title=title))


def panel(figures: dict[str, Any], name: str) -> Any:
    """One measure along the chain."""
    stages, levels = figures["stages"], figures["levels"][name]
    table = pd.DataFrame([{"stage": stage, **levels[stage]} for stage in stages]).dropna(subset=["mean"])
    plain = alt.Chart(table).encode(
        x=alt.X("stage:N", sort=stages, title=None, scale=alt.Scale(domain=stages), axis=alt.Axis(labelAngle=-30)),
        color=colour(stages),
    )
    y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=True))
    rules = plain.mark_rule(strokeWidth=2).encode(y=alt.Y("ci_low:Q", title=None), y2="ci_high:Q")
    tooltip = ["stage", *(alt.Tooltip(f"{end}:Q", format=".3f") for end in ("mean", "ci_low", "ci_high"))]
    points = plain.mark_point(filled=True, size=60, opacity=1).encode(y=y, tooltip=tooltip)
    title = alt.TitleParams(MEASURES[name], fontSize=11, fontWeight="normal")
    layers = [*steps(figures, name), rules, points]
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)


def steps(figures: dict[str, Any], name: str) -> list[Any]:
    """The lines between stages."""
    stages, levels = figures["stages"], figures["levels"][name]
    rows = []
    for before, after, step in zip(stages, stages[1:], figures["steps"][name].values(), strict=False):
        certain = step["ci_low"] > 0 or step["ci_high"] < 0
        rows += [
            {"step": f"{before} to {after}", "stage": stage, "mean": levels[stage]["mean"], "certain": certain}
            for stage in (before, after)
        ]
    table = pd.DataFrame(rows).dropna(subset=["mean"])
    lines = alt.Chart(table).encode(
        x=alt.X("stage:N", sort=stages, title=None), y=alt.Y("mean:Q", title=None), detail="step:N"
    )
    kinds = ((True, [1, 0]), (False, [2, 4]))
    return [
        lines.transform_filter(alt.datum.certain == certain).mark_line(color=MUTED, strokeWidth=1.5, strokeDash=dash)
        for certain, dash in kinds
    ]
