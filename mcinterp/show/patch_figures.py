"""Charts of patched sites: effects by layer in both directions, maps over heads and positions, interaction."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.effects import effects, first_read, interaction, main_metric
from mcinterp.show.theme import DIVERGING, LINE, MUTED, site_scale, themed

FAR, LEAST_FAR, MAP_WIDTH = 0.995, 0.02, 300
HEADER = alt.Header(title=None, labelFontSize=12, labelFontWeight=600, labelAnchor="start")
OWN, RANDOM = "donor's activation", "random change of equal size"


def pictures(patched: xr.Dataset) -> dict[str, Any]:
    """The charts that a sweep has, by name."""
    found = effects(patched, main_metric(patched))
    charts = {}
    if np.isfinite(found["share"].values).any():
        axis = next((axis for axis in ("head", "position") if axis in found.dims), None)
        charts["effects"] = effects_by_layer(found) if axis is None else effects_map(found, axis)
    if f"{main_metric(patched)}_interaction" in patched:
        charts["interaction"] = interaction_by_layer(patched)
    return charts


def effects_by_layer(found: xr.Dataset) -> Any:
    """Share of the gap that each site moves at every layer, both directions side by side, the random control dashed.

    `found` is a dataset of `mcinterp.effects.effects` without heads and positions.
    """
    sites = found["site"].values.tolist()
    colour = alt.Color("site:N", scale=site_scale(sites), sort=sites, legend=alt.Legend(title=None, symbolOpacity=1))
    dash = alt.StrokeDash("what:N", scale=alt.Scale(domain=[OWN, RANDOM], range=[[1, 0], [4, 3]]), title=None)
    x = alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d"), title="layer")
    y = alt.Y("share:Q", title="share of the gap")
    tooltip = ["site", "layer", "what", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("share", "low", "high"))]
    plain = alt.Chart().encode(x=x, color=colour)
    parts = [
        alt.Chart().mark_rule(color=MUTED, strokeDash=[2, 2]).encode(y=alt.Y("one:Q")),
        plain.transform_filter(alt.datum.what == OWN).mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q"),
        plain.mark_line().encode(y=y, strokeDash=dash),
        plain.transform_filter(alt.datum.what == OWN).mark_point(filled=True, size=36).encode(y=y, tooltip=tooltip),
    ]
    layered = alt.layer(*parts, data=share_table(found)).properties(width=300, height=230)
    title = "How far one patched site moves the recipient towards the donor"
    return themed(
        layered.facet(alt.Facet("panel:N", header=HEADER, sort=panels(found)), columns=2).properties(title=title)
    )


def share_table(found: xr.Dataset) -> pd.DataFrame:
    """One row a direction, site and layer, for the donor's activation and for the random control."""
    one = first_read(found)
    own = one[["share", "share_low", "share_high"]].to_dataframe().reset_index()
    own = own.rename(columns={"share_low": "low", "share_high": "high"}).assign(what=OWN)
    parts = [own]
    if "random" in one:
        parts.append((one["random"] / one["gap"]).to_dataframe("share").reset_index().assign(what=RANDOM))
    table = pd.concat(parts, ignore_index=True)
    titles = dict(zip(one["direction"].values.tolist(), panels(found), strict=True))
    kept = [name for name in ("direction", "site", "layer", "head", "position") if name in table]
    table = table[[*kept, "what", "share", "low", "high"]].assign(one=1.0)
    return table.assign(panel=[titles[name] for name in table["direction"]])


def panels(found: xr.Dataset) -> list[str]:
    """The title of every direction's panel: its name and the gap between its ends."""
    gap = first_read(found)["gap"]
    return [f"{name} (gap {float(gap.sel(direction=name)):+.2f} nats)" for name in gap["direction"].values.tolist()]


def effects_map(found: xr.Dataset, axis: str) -> Any:
    """Share of the gap by layer and head, or layer and position: one map a site and direction."""
    table = share_table(found)
    table = table[(table["what"] == OWN) & table["share"].notnull()]
    far = max(LEAST_FAR, float(np.nanquantile(np.abs(found["share"].values), FAR)))
    step = max(15, MAP_WIDTH // found.sizes[axis])
    colour = alt.Color(
        "share:Q",
        scale=alt.Scale(scheme=DIVERGING, domain=[-far, far], domainMid=0, clamp=True),
        title="share of the gap",
    )
    tooltip = ["site", "layer", axis, *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("share", "low", "high"))]
    title_of = axis if axis == "head" else "position (0 is the last prompt token)"
    cells = (
        alt.Chart(table)
        .mark_rect()
        .encode(
            x=alt.X(f"{axis}:O", title=title_of, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("layer:O", sort="descending"),
            color=colour,
            tooltip=tooltip,
        )
        .properties(width=alt.Step(step), height=alt.Step(15))
    )
    title = f"How far one patched {axis} moves the recipient towards the donor"
    row = alt.Row("site:N", header=HEADER, sort=found["site"].values.tolist())
    return themed(
        cells.facet(column=alt.Column("panel:N", header=HEADER, sort=panels(found)), row=row).properties(title=title)
    )


def interaction_by_layer(patched: xr.Dataset) -> Any:
    """The 2 x 2 interaction of lower and upper layers at every boundary, with its interval; one panel a pair."""
    metric = main_metric(patched)
    table = first_read(interaction(patched, metric)).to_dataframe().reset_index().assign(zero=0.0)
    x = alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d"), title="first layer above the boundary")
    y = alt.Y("interaction:Q", title=f"{metric.replace('_', ' ')} (nats)")
    plain = alt.Chart().encode(x=x)
    parts = [
        alt.Chart().mark_rule(color=MUTED).encode(y="zero:Q"),
        plain.mark_area(opacity=0.15, color=LINE).encode(y=alt.Y("interaction_low:Q"), y2="interaction_high:Q"),
        plain.mark_line(color=LINE).encode(y=y),
        plain.mark_point(color=LINE, filled=True).encode(y=y, tooltip=["pair", "layer", "interaction"]),
    ]
    layered = alt.layer(*parts, data=table).properties(width=300, height=230)
    faceted = layered.facet(alt.Facet("pair:N", header=HEADER, sort=table["pair"].unique().tolist()), columns=1)
    return themed(faceted.properties(title="Interaction of lower and upper layers"))


def held_leaves(held: xr.Dataset) -> Any:
    """Share of trajectories that leave the unpatched recipient's, by site and layer, both directions side by side."""
    left = held["left_at"].notnull().mean(["prompt", "sample"])
    left = left.max("head") if "head" in left.dims else left
    table, sites = left.to_dataframe("share").reset_index(), held["site"].values.tolist()
    chart = (
        alt.Chart(table[["direction", "site", "layer", "share"]])
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("share:Q", title="share of trajectories that leave", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("site:N", scale=site_scale(sites), sort=sites, legend=alt.Legend(title=None)),
            tooltip=["site", "layer", alt.Tooltip("share:Q", format=".2f")],
        )
        .properties(width=300, height=200)
    )
    return themed(
        chart.facet(alt.Facet("direction:N", header=HEADER, sort=held["direction"].values.tolist()), columns=2)
    )
