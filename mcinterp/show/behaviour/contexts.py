"""The picture of which contexts collapse: gaps by genre, what predicts them, precedents, and copying."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.show.theme import MUTED, stage_scale, themed
from mcinterp.statistics import ENDS
from mcinterp.summary.behaviour.contexts import interval_of, shots, summary

WIDTH, OFFSET = 250, 5
RATED = {
    "rater_entropy": "entropy for one rater",
    "pooled_entropy": "entropy of all raters' mixture",
    "rater_information": "what the number says",
}


def picture(dataset: xr.Dataset) -> Any:
    """The entropy gap by genre; held-out R2 of every model; the gap by precedents; what is copied, beside chance.

    Points are means, rules 95 % intervals over templates; every stage keeps its colour.
    """
    figures, stages = summary(dataset), dataset["stage"].values.tolist()
    left = alt.vconcat(by_genre(figures, stages))
    panels = [copying(figures, stages)]
    if "prediction" in figures[stages[-1]]:
        panels.insert(0, prediction(figures, stages))
    if "shots" in figures[stages[-1]] and figures[stages[-1]]["shots"]["n_prompts"]:
        panels.insert(-1, by_shots(figures, stages))
    return themed(alt.hconcat(left, alt.vconcat(*panels, spacing=18), spacing=24))


def precedent_picture(dataset: xr.Dataset) -> Any:
    """The entropy gap (base minus stage, nats) by number of answered copies of the prompt before it.

    Solid behind different answers with 95 % intervals over templates, dashed behind one repeated. Of the dataset of
    raters: the entropy for one rater, of their mixture, and what the rater's number says (nats).
    """
    stages = dataset["stage"].values.tolist()
    if "shot_gap" not in dataset:
        return themed(rated(dataset, stages))
    figures = {stage: {"shots": shots(dataset.sel(stage=stage))} for stage in stages}
    return themed(by_shots(figures, ["", *stages[1:]]))


def rated(dataset: xr.Dataset, stages: list[str]) -> Any:
    """Entropies behind many raters' numbers, stage by stage."""
    table = pd.DataFrame(
        [
            row
            for stage in stages
            for row in rows_of(
                {s: interval_of(dataset, dataset[n].sel(stage=stage)) for n, s in RATED.items()}, stage=stage
            )
        ]
    )
    return dots(table, stages, list(RATED.values()), "nats", "Behind the number of a rater")


def colour(stages: list[str]) -> alt.Color:
    """Stages in their colours, with one legend."""
    return alt.Color(
        "stage:N", scale=stage_scale(stages), sort=stages, legend=alt.Legend(title=None, orient="top", symbolOpacity=1)
    )


def rows_of(entries: dict[str, dict[str, float]], **labels: Any) -> list[dict[str, Any]]:
    """One row an entry of means with intervals."""
    return [{**labels, "name": name, **{end: each[end] for end in ENDS}} for name, each in entries.items()]


def dots(table: pd.DataFrame, stages: list[str], order: list[str], x: str, title: str) -> Any:
    """Means with intervals, one line a name, stages beside one another."""
    plain = alt.Chart(table).encode(
        y=alt.Y("name:N", sort=order, title=None), yOffset=alt.YOffset("stage:N", sort=stages), color=colour(stages)
    )
    rules = plain.mark_rule(strokeWidth=1.5).encode(x=alt.X("ci_low:Q", title=x), x2="ci_high:Q")
    tooltip = ["name", "stage", *(alt.Tooltip(f"{end}:Q", format=".3f") for end in ENDS)]
    points = plain.mark_point(filled=True, size=26, opacity=1).encode(x=alt.X("mean:Q", title=x), tooltip=tooltip)
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x="zero:Q")
    return alt.layer(zero, rules, points).properties(width=WIDTH, height=alt.Step(OFFSET), title=title)


def by_genre(figures: dict[str, Any], stages: list[str]) -> Any:
    """The gap by genre, the largest of the first tuned stage on top."""
    gaps = figures[stages[1]]["genres"]
    order = sorted(gaps, key=lambda genre: -gaps[genre]["mean"])
    table = pd.DataFrame([row for stage in stages[1:] for row in rows_of(figures[stage]["genres"], stage=stage)])
    title = "Entropy lost right after the prompt, by genre"
    return dots(table, stages, order, "base minus stage (nats)", title)


def prediction(figures: dict[str, Any], stages: list[str]) -> Any:
    """R2 on templates left out, by model; intervals that reach far below zero are cut at -1."""
    rows = []
    for stage in stages[1:]:
        models = {model: each["r2"] for model, each in figures[stage]["prediction"].items()}
        rows += rows_of(models, stage=stage)
    table = pd.DataFrame(rows)
    table[list(ENDS)] = table[list(ENDS)].clip(lower=-1.0)
    order = list(figures[stages[-1]]["prediction"])
    return dots(table, stages, order, "R² on templates left out of the fit", "Predicted by the base alone, from")


def by_shots(figures: dict[str, Any], stages: list[str]) -> Any:
    """The gap by number of precedents, those with different answers solid, the repeated one dashed."""
    rows = []
    for stage in stages[1:]:
        shots = figures[stage]["shots"]
        for kind in [name for name in shots if name != "n_prompts"]:
            rows += rows_of(shots[kind], stage=stage, precedent=kind)
    table, count = pd.DataFrame(rows), figures[stages[-1]]["shots"]["n_prompts"]
    plain = alt.Chart(table).encode(
        x=alt.X("name:O", title=f"answered copies before the prompt ({count} prompts)", axis=alt.Axis(labelAngle=0)),
        color=colour(stages),
    )
    y = alt.Y("mean:Q", title="entropy gap (nats)")
    dash = alt.StrokeDash("precedent:N", sort=["diverse", "repeated"], legend=None)
    lines = plain.mark_line(point=True).encode(y=y, strokeDash=dash)
    rules = plain.transform_filter(alt.datum.precedent == "diverse").mark_rule(opacity=0.5)
    return alt.layer(rules.encode(y=alt.Y("ci_low:Q", title="entropy gap (nats)"), y2="ci_high:Q"), lines).properties(
        width=WIDTH, height=120, title="Behind different answers (dashed: one, repeated)"
    )


def copying(figures: dict[str, Any], stages: list[str]) -> Any:
    """The longest span copied from the prompt, filled, and that shared with another prompt, hollow."""
    rows = []
    for stage in stages:
        named = {"its prompt": figures[stage]["copied_span"], "another prompt": figures[stage]["copied_span_by_chance"]}
        rows += rows_of(named, stage=stage)
    order = ["its prompt", "another prompt"]
    return dots(pd.DataFrame(rows), stages, order, "longest span in common (tokens)", "What samples share with")
