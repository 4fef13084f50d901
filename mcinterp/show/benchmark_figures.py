"""How well methods of localisation find what was planted: a map of methods by kinds, and their figures beside it."""

from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.show.saving import save_still
from mcinterp.show.theme import BASE, LINE, PAPER, SEQUENTIAL, themed

ROW, COLUMN, PANEL, LABELS, TASK = 19, 50, 130, 300, 13
ALL = "all"
DECADES: list[float] = [0.001, 0.01, 0.1, 1, 10, 100]
BESIDE = {"auroc": "AUROC", "share_on_truth": "share on the truth"}
LIGHT_FROM = 0.6


def localisation(means: xr.Dataset, title: str) -> Any:
    """Top-1 of every method on every kind, beside AUROC, share on the truth and seconds of all kinds together.

    `means` is the dataset of `mcinterp.benchmark.table.by_kind`; 95 % intervals over plants are drawn where there are
    some.
    """
    order = means["method"].values.tolist()
    whole = means.sel(kind=ALL)
    panels = [interval_panel(whole, order, name, said) for name, said in BESIDE.items()]
    parts = [top_1_map(means, order), *panels, seconds_panel(whole, order)]
    return themed(alt.hconcat(*parts, spacing=14).resolve_scale(color="independent").properties(title=title))


def benchmark_by_kind(means: xr.Dataset) -> Any:
    """Top-1 of every method on every kind of planted collapse, beside AUROC, share on the truth and seconds a task.

    With 95 % intervals over plants.
    """
    half = provenance_of(means).get("half", "one")
    return localisation(means, f"Which methods find what was planted ({half} half)")


def benchmark(found: xr.Dataset) -> Any:
    """The share of its score that every method puts on the planted sites, task by task, in columns of kinds.

    Tasks without a planted site are left out; a cross is a method that gave no answer.
    """
    kept = found.isel(task=np.flatnonzero(found["share_on_truth"].notnull().any("method").values))
    kept = kept if kept.sizes["task"] else found
    table = kept[["share_on_truth", "top_1", "failed"]].to_dataframe().reset_index()
    table = table[["task", "method", "kind", "half", "share_on_truth", "top_1", "failed"]]
    order = found["method"].values.tolist()
    axis = alt.Axis(labels=False, ticks=False, domain=False, title=None)
    plain = alt.Chart().encode(
        x=alt.X("task:N", sort=kept["task"].values.tolist(), axis=axis), y=methods_axis(order, labels=True)
    )
    scale = alt.Scale(scheme=SEQUENTIAL, domain=[0, 1], clamp=True)
    shown = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("share_on_truth", "top_1")]
    boxes = plain.mark_rect(stroke=PAPER).encode(
        color=alt.Color("share_on_truth:Q", scale=scale, title="share on the truth"),
        tooltip=["task", "method", "kind", "half", *shown],
    )
    crosses = plain.transform_filter("datum.failed > 0").mark_text(text="×", fontSize=12)
    layered = alt.layer(boxes, crosses, data=table).properties(width=alt.Step(TASK), height=alt.Step(ROW))
    header = alt.Header(title=None, labelAngle=-35, labelAlign="left", labelOrient="top")
    column = alt.Column("kind:N", header=header, sort=list(dict.fromkeys(table["kind"])))
    faceted = layered.facet(column=column, spacing=5).resolve_scale(x="independent")
    return themed(faceted.properties(title="What each method finds of what was planted, task by task"))


def methods_axis(order: list[str], *, labels: bool = False) -> alt.Y:
    """The methods from top to bottom, named at the left of the map only."""
    axis = alt.Axis(labels=labels, ticks=False, domain=False, labelLimit=LABELS, grid=not labels)
    return alt.Y("method:N", sort=order, title=None, axis=axis)


def top_1_map(means: xr.Dataset, order: list[str]) -> Any:
    """Methods by kinds with the numbers in the cells; kinds without a true place are left out."""
    told = means.isel(kind=np.flatnonzero(means["top_1"].notnull().any("method").values))
    table = told[["top_1"]].to_dataframe().reset_index()
    named = {kind: f"{kind} ({int(told['placed'].sel(kind=kind))})" for kind in told["kind"].values.tolist()}
    table = table.assign(column=[named[kind] for kind in table["kind"]], said=table["top_1"].map(short))
    axis = alt.Axis(orient="top", labelAngle=-35, ticks=False, domain=False)
    plain = alt.Chart(table).encode(
        x=alt.X("column:N", sort=list(named.values()), title="top-1 by kind (tasks)", axis=axis),
        y=methods_axis(order, labels=True),
    )
    scale = alt.Scale(scheme=SEQUENTIAL, domain=[0, 1])
    cells = plain.mark_rect(stroke=PAPER).encode(
        color=alt.Color("top_1:Q", scale=scale, legend=None),
        tooltip=["method", "kind", alt.Tooltip("top_1:Q", format=".2f")],
    )
    ink = alt.when(f"datum.top_1 > {LIGHT_FROM}").then(alt.value("black")).otherwise(alt.value("white"))
    words = plain.mark_text(fontSize=10).encode(text="said:N", color=ink)
    size = {"width": alt.Step(COLUMN), "height": alt.Step(ROW)}
    return alt.layer(cells, words).properties(**size)


def short(share: float) -> str:
    """A share as it is written in a cell: .86, 0 and 1."""
    return f"{share:.2f}".removeprefix("0") if 0.005 <= share < 0.995 else f"{share:.0f}"


def interval_panel(whole: xr.Dataset, order: list[str], name: str, title: str) -> Any:
    """One figure of every method as a point with its interval, from 0 to 1."""
    table = pd.DataFrame({end or "mean": whole[f"{name}{end}"].values for end in ("", "_low", "_high")})
    table = table.assign(method=order).rename(columns={"_low": "low", "_high": "high"})
    plain = alt.Chart(table).encode(y=methods_axis(order))
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(orient="top", tickCount=3, format=".1f")
    points = plain.mark_point(filled=True, size=45, color=BASE, opacity=1).encode(
        x=alt.X("mean:Q", title=title, scale=scale, axis=axis),
        tooltip=["method", *(alt.Tooltip(f"{each}:Q", format=".3f") for each in ("mean", "low", "high"))],
    )
    ends = plain.mark_rule(color=BASE).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    return alt.layer(ends, points).properties(width=PANEL, height=alt.Step(ROW))


def seconds_panel(whole: xr.Dataset, order: list[str]) -> Any:
    """Mean processor time of a task, on a logarithmic axis."""
    table = pd.DataFrame({"method": order, "seconds": np.maximum(whole["seconds"].values.astype(float), 1e-3)})
    axis = alt.Axis(orient="top", values=DECADES, format="~g", labelFlush=False, labelOverlap=False)
    points = alt.Chart(table).mark_point(filled=True, size=45, color=LINE, opacity=1)
    return points.encode(
        y=methods_axis(order),
        x=alt.X("seconds:Q", title="seconds a task", scale=alt.Scale(type="log"), axis=axis),
        tooltip=["method", alt.Tooltip("seconds:Q", format=".3g")],
    ).properties(width=PANEL, height=alt.Step(ROW))


def write_localisation(means: xr.Dataset, folder: str | Path, half: str) -> list[Path]:
    """The picture of one half as SVG and PNG (at twice the size); none where nothing has a true place."""
    if not means["top_1"].notnull().any():
        return []
    chart = localisation(means, f"Which methods find what was planted ({half} half)")
    return save_still(chart, folder, f"localisation_{half}")
