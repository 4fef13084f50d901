"""The picture of endings: outcomes of every genre by stage, how their entropy falls along stories, and what is lost."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.show.behaviour.panels import colour
from mcinterp.show.marks import small
from mcinterp.show.theme import FAINT, MUTED, themed
from mcinterp.statistics import ENDS
from mcinterp.summary.behaviour.endings import pooled, summary

WIDTH, HEIGHT, DRAWS, GAP, MOST, COLUMNS, LINE = 176, 130, 300, 16, 12, 3, 13


def picture(dataset: xr.Dataset) -> Any:
    """Above, along stories: the entropy of the outcome behind the base's story and the stages' own, what is decided.

    Means over prompts with 95 % intervals over templates. Below, the share of every genre's commonest outcomes at the
    start, in the base's order, and of the base's rare outcomes what is kept.
    """
    found = summary(dataset, draws=DRAWS)
    whole = [cell for cell in found["cells"] if cell["prompts"] == "all" and cell["genre"] == "all"]
    stages, unit = found["stages"], found["settings"]["unit"]
    lines = alt.hconcat(
        curve(whole, stages, unit, "Own stories", "H(outcome | beginning), nats", lambda cell: cell["own"]["entropy"]),
        curve(
            whole,
            stages,
            unit,
            "The base's story",
            "H(outcome | beginning), nats",
            lambda cell: cell["base"]["entropy"],
        ),
        curve(whole, stages, unit, "Decided by a beginning", "share of H(outcome)", lambda cell: cell["decided"]),
        *([kept(found["cells"], stages)] if any(np.isfinite(e["rare_kept"]["mean"]) for e in found["cells"]) else []),
        spacing=GAP,
    )
    genres = list(dict.fromkeys(dataset["genre"].values.tolist()))
    panels = [outcomes(dataset, genre, stages, axis=True) for genre in genres]
    rows = [alt.hconcat(*panels[n : n + COLUMNS], spacing=GAP) for n in range(0, len(panels), COLUMNS)]
    title = f"Endings of {found['n_prompts']} stories ({found['settings']['samples']} texts from every beginning)"
    return themed(alt.vconcat(lines, *rows, spacing=20).properties(title=title))


def curve(cells: list[dict[str, Any]], stages: list[str], unit: str, title: str, axis: str, values: Any) -> Any:
    """One figure by branch, a line a stage."""
    table = pd.DataFrame(
        [
            {"stage": cell["stage"], "branch": int(branch), **value}
            for cell in cells
            for branch, value in values(cell).items()
        ]
    )
    ticks = sorted(set(table["branch"]))
    x = alt.X("branch:Q", title=f"{unit}s of the story", axis=alt.Axis(values=ticks, format="d", grid=False))
    chart = alt.Chart(table).encode(x=x, color=colour(stages, "bottom"))
    band = chart.mark_area(opacity=0.13).encode(y=alt.Y("ci_low:Q", title=axis), y2="ci_high:Q")
    line = chart.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=28)).encode(
        y=alt.Y("mean:Q", title=axis, scale=alt.Scale(zero=True)), tooltip=["stage", "branch", *ENDS]
    )
    return alt.layer(band, line).properties(width=WIDTH, height=HEIGHT, title=small(title))


def kept(cells: list[dict[str, Any]], stages: list[str]) -> Any:
    """What every stage keeps of the base's rare outcomes, by genre."""
    table = pd.DataFrame(
        [
            {"genre": cell["genre"], "stage": cell["stage"], **cell["rare_kept"]}
            for cell in cells if cell["prompts"] == "all" and cell["stage"] != stages[0]
        ]
    )  # fmt: skip
    table = table[np.isfinite(table["mean"].astype(float))]
    y = alt.Y("genre:N", sort=list(dict.fromkeys(table["genre"])), title=None,
              axis=alt.Axis(domain=False, ticks=False))  # fmt: skip
    chart = alt.Chart(table).encode(y=y, yOffset=alt.YOffset("stage:N", sort=stages), color=colour(stages, "bottom"))
    axis = alt.Axis(tickCount=4)
    rules = chart.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("ci_low:Q", title="different ones, over the base's", axis=axis), x2="ci_high:Q"
    )
    points = chart.mark_point(filled=True, size=30, opacity=1).encode(
        x=alt.X("mean:Q", title="different ones, over the base's", axis=axis), tooltip=["genre", "stage", *ENDS]
    )
    one = alt.Chart(pd.DataFrame({"mean": [1.0]})).mark_rule(strokeDash=[3, 3], color=MUTED).encode(x="mean:Q")
    return alt.layer(one, rules, points).properties(width=WIDTH - 30, height=HEIGHT, title=small("Rare outcomes kept"))


def outcomes(dataset: xr.Dataset, genre: str, stages: list[str], *, axis: bool) -> Any:
    """The share of a genre's outcomes at the start of its stories, those of most stages first, a point a stage."""
    names = [*pooled(dataset, genre, None).tolist(), "(another)"]
    counts = {stage: pooled(dataset, genre, stage) for stage in stages}
    share = {stage: values / max(float(values.sum()), 1.0) for stage, values in counts.items()}
    top = np.argsort(-np.max(list(share.values()), axis=0), kind="stable")[:MOST]
    order = sorted(top.tolist(), key=lambda n: -share[stages[0]][n])
    table = pd.DataFrame(
        [
            {"outcome": plain(names[n]), "stage": stage, "share": float(share[stage][n])}
            for n in order
            for stage in stages
        ]
    )
    y = alt.Y("outcome:N", sort=[plain(names[n]) for n in order], title=None,
              axis=alt.Axis(domain=False, ticks=False, labelLimit=150, labelFontSize=9, labelPadding=8))  # fmt: skip
    x = alt.X("share:Q", title="share of texts", axis=alt.Axis(tickCount=4, labels=axis))
    chart = alt.Chart(table).encode(y=y)
    range_ = chart.mark_rule(color=FAINT).encode(x=alt.X("min(share):Q", title="share of texts"), x2="max(share):Q")
    points = chart.mark_point(filled=True, size=34, opacity=1).encode(
        x=x, color=colour(stages, "bottom"), tooltip=["outcome", "stage", alt.Tooltip("share:Q", format=".3f")]
    )
    return alt.layer(range_, points).properties(width=WIDTH, height=alt.Step(LINE), title=small(genre))


def plain(name: str) -> str:
    """An outcome's name in one line."""
    return " ".join(name.replace("***", "").split())
