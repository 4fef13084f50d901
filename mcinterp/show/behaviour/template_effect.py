"""The picture of weights against template: cells, effects, and what key-values of the template's positions carry."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.show.theme import MUTED, stage_scale, themed
from mcinterp.statistics import ENDS
from mcinterp.summary.behaviour.template_effect import EFFECTS, MEASURES, summary
from mcinterp.summary.behaviour.template_effect import keys as key_figures

WIDTH, HEIGHT, OFFSET = 190, 130, 8
METRICS = {"entropy": "entropy", "attractor_log_odds": "attractor's log-odds"}
SHOWN = ("entropy", "kl_stage_to_base", "distinct")


def picture(dataset: xr.Dataset) -> Any:
    """Cells of every measure on top, effects of the design below, and below those the patched key-values.

    Points are means, rules 95 % intervals over templates.
    """
    figures, stages = summary(dataset), dataset["stage"].values.tolist()
    rows = [
        alt.hconcat(*[cells(figures["cells"][name], stages, MEASURES[name]) for name in SHOWN]),
        alt.hconcat(*[changes(figures["effects"][name], stages, name) for name in SHOWN]),
    ]
    if "keys" in figures:
        rows.append(alt.hconcat(*[keys(figures["keys"][metric], stages, said) for metric, said in METRICS.items()]))
    return themed(alt.vconcat(*rows, spacing=22))


def keys_picture(dataset: xr.Dataset) -> Any:
    """Shares of the gap between base and stage that key-values at some positions carry, in both directions.

    Points are means, rules 95 % intervals over templates; left of entropy, right of the attractor's log-odds.
    """
    base = str(dataset["donor_stage"].values[0])
    ends = [*dataset["donor_stage"].values.tolist(), *dataset["recipient_stage"].values.tolist()]
    stages = [base, *(name for name in dict.fromkeys(ends) if name != base)]
    panels = [keys(key_figures(dataset, f"keys_{metric}"), stages, said) for metric, said in METRICS.items()]
    return themed(alt.hconcat(*panels, spacing=22).properties(title="What key-values alone carry"))


def colour(stages: list[str]) -> alt.Color:
    """Stages in their colours, with one legend."""
    return alt.Color(
        "stage:N", scale=stage_scale(stages), sort=stages, legend=alt.Legend(title=None, orient="top", symbolOpacity=1)
    )


def tooltips(*names: str) -> list[Any]:
    """What is shown on hover."""
    return ["stage", *names, *(alt.Tooltip(f"{end}:Q", format=".3f") for end in ENDS)]


def cells(levels: dict[str, Any], stages: list[str], title: str) -> Any:
    """One line a stage from the raw to the chat rendering."""
    rows = [{"stage": s, "rendering": r, **one} for s in stages for r, one in levels[s].items()]
    plain = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("rendering:N", sort=["raw", "chat"], title=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("stage:N", sort=stages, scale=alt.Scale(range=[28, 67])),
        color=colour(stages),
    )
    y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=True))
    lines = plain.mark_line(opacity=0.6).encode(y=y)
    rules = plain.mark_rule(strokeWidth=1.5).encode(y=alt.Y("ci_low:Q", title=None), y2="ci_high:Q")
    points = plain.mark_point(filled=True, size=45, opacity=1).encode(y=y, tooltip=tooltips("rendering"))
    return alt.layer(lines, rules, points).properties(width=WIDTH, height=HEIGHT, title=small(title))


def changes(found: dict[str, Any], stages: list[str], name: str) -> Any:
    """Main effects and interaction of every stage against the base."""
    rows = [{"stage": s, "name": e, **found[s][e]} for s in stages[1:] for e in EFFECTS]
    unit = MEASURES[name].rsplit("(", 1)[1].rstrip(")")
    return dots(pd.DataFrame(rows), stages, list(EFFECTS), f"effect ({unit})", "")


def keys(found: dict[str, Any], stages: list[str], said: str) -> Any:
    """Shares of the gap between two stages that key-values at some positions move, in both directions."""
    base, panels = stages[0], []
    for ways, title in (("{0}_to_{1}", "base's key-values in the stage"), ("{1}_to_{0}", "the stage's in the base")):
        rows = [
            {"stage": stage, "name": positions, **one["share"]}
            for stage in stages[1:]
            for positions, one in found[ways.format(base, stage)].items()
        ]
        table = pd.DataFrame(rows)
        panels.append(dots(table, stages, list(dict.fromkeys(table["name"])), f"share of the gap in {said}", title))
    return alt.vconcat(*panels, spacing=10)


def dots(table: pd.DataFrame, stages: list[str], order: list[str], x: str, title: str) -> Any:
    """Means with intervals, one line a name, stages beside one another."""
    table = table.dropna(subset=["mean"])
    plain = alt.Chart(table).encode(
        y=alt.Y("name:N", sort=order, title=None), yOffset=alt.YOffset("stage:N", sort=stages), color=colour(stages)
    )
    rules = plain.mark_rule(strokeWidth=1.5).encode(x=alt.X("ci_low:Q", title=x), x2="ci_high:Q")
    points = plain.mark_point(filled=True, size=40, opacity=1).encode(
        x=alt.X("mean:Q", title=x), tooltip=tooltips("name")
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x="zero:Q")
    return alt.layer(zero, rules, points).properties(width=WIDTH, height=alt.Step(OFFSET), title=small(title))


def small(title: str) -> alt.TitleParams:
    """A panel's title."""
    return alt.TitleParams(title, fontSize=11, fontWeight="normal")
