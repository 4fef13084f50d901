"""Charts of patched sites: effects by layer in both directions, maps over heads and positions, interaction."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.effects import effects, first_read, interaction, main_metric
from mcinterp.results import provenance_of
from mcinterp.show.marks import HEADER, ROWS
from mcinterp.show.text_figures import held_panels
from mcinterp.show.theme import DIVERGING, INK, LINE, MUTED, site_scale, themed
from mcinterp.variables import VARIABLES

FAR, LEAST_FAR, MAP_WIDTH = 0.995, 0.02, 300
OWN, RANDOM = "donor's activation", "random change of equal size"


def patch(patched: xr.Dataset) -> Any:
    """How far one patched cell moves the recipient towards the donor, as a share of the gap, in both directions.

    By layer with 95 % intervals over templates and the random control, or as maps of layer by head and layer by
    position where there are such axes; below, the interaction of lower and upper layers (nats).
    """
    parts = effects_panels(effects(patched, main_metric(patched)))
    if f"{main_metric(patched)}_interaction" in patched:
        parts["interaction"] = interaction_panel(interaction(patched, main_metric(patched)), main_metric(patched))
    return stacked(list(parts.values()))


def effects_of_patches(found: xr.Dataset) -> Any:
    """The same of a dataset of `mcinterp.effects.effects`, without the interaction."""
    return stacked(list(effects_panels(found).values()))


def interaction_of_layers(found: xr.Dataset) -> Any:
    """The 2 x 2 interaction of lower and upper layers at every boundary (nats of its metric), with 95 % intervals.

    Of a dataset of `mcinterp.effects.interaction`; away from zero both parts act together.
    """
    return themed(interaction_panel(found, str(provenance_of(found).get("metric", "metric"))))


def stacked(parts: list[Any]) -> Any:
    """Panels below one another; a sentence where the gap is too small for shares."""
    if not parts:
        said = alt.Chart(
            pd.DataFrame({"said": ["The mean gap between the ends is below 0.1 nats: no share is given."]})
        )
        text = said.mark_text(align="left", fontSize=12, color=INK).encode(
            text="said:N", x=alt.value(0), y=alt.value(10)
        )
        return themed(text.properties(width=420, height=20))
    return themed(parts[0] if len(parts) == 1 else alt.vconcat(*parts, spacing=26).resolve_scale(color="independent"))


def effects_panels(found: xr.Dataset) -> dict[str, Any]:
    """The panels of effects by name: lines by layer, or a map for every axis; none where no share is known."""
    if not np.isfinite(found["share"].values).any():
        return {}
    axes = [axis for axis in ("head", "position") if axis in found.dims]
    if not axes:
        return {"effects": layers_panel(found)}
    return {axis: map_panel(strongest_along(found, [other for other in axes if other != axis]), axis) for axis in axes}


def strongest_along(found: xr.Dataset, axes: list[str]) -> xr.Dataset:
    """Effects at the place along some axes where the share is largest in size, cell by cell."""
    for axis in axes:
        size = abs(found["share"]).fillna(-1.0)
        found = found.isel({axis: size.argmax(axis)}).drop_vars(axis)
    return found


def pictures(patched: xr.Dataset) -> dict[str, Any]:
    """The charts that a sweep has, by name."""
    panels = effects_panels(effects(patched, main_metric(patched)))
    names = ["effects", *(f"effects-{name}" for name in list(panels)[1:])]
    charts = {name: themed(panel) for name, panel in zip(names, panels.values(), strict=False)}
    if f"{main_metric(patched)}_interaction" in patched:
        charts["interaction"] = interaction_of_layers(interaction(patched, main_metric(patched)))
    return charts


def layers_panel(found: xr.Dataset) -> Any:
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
        *(
            alt.Chart().mark_rule(color=MUTED, strokeDash=[2, 2]).encode(y=alt.Y(f"{at}:Q"))
            for at in ("nothing", "one")
        ),
        plain.transform_filter(alt.datum.what == OWN).mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q"),
        plain.mark_line().encode(y=y, strokeDash=dash),
        plain.transform_filter(alt.datum.what == OWN)
        .mark_point(filled=True, size=36, opacity=1)
        .encode(y=y, tooltip=tooltip),
    ]
    layered = alt.layer(*parts, data=share_table(found)).properties(width=300, height=230)
    title = "How far one patched site moves the recipient towards the donor"
    return layered.facet(alt.Facet("panel:N", header=HEADER, sort=panels(found)), columns=2).properties(title=title)


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
    table = table[[*kept, "what", "share", "low", "high"]].assign(one=1.0, nothing=0.0)
    return table.assign(panel=[titles[name] for name in table["direction"]])


def panels(found: xr.Dataset) -> list[str]:
    """The title of every direction's panel: its name and the gap between its ends."""
    gap, unit = first_read(found)["gap"], unit_of(str(provenance_of(found).get("metric", "attractor_log_odds")))
    return [f"{name} (gap {float(gap.sel(direction=name)):+.2f}{unit})" for name in gap["direction"].values.tolist()]


def unit_of(metric: str) -> str:
    """The unit of a metric behind its value; nothing for a metric of the caller's, whose unit only the caller knows."""
    return f" {VARIABLES[metric].unit}" if metric in VARIABLES else ""


def map_panel(found: xr.Dataset, axis: str) -> Any:
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
            y=alt.Y("layer:O", sort="descending", title="layer"),
            color=colour,
            tooltip=tooltip,
        )
        .properties(width=alt.Step(step), height=alt.Step(15))
    )
    title = f"How far one patched {axis} moves the recipient towards the donor"
    row = alt.Row("site:N", header=ROWS, sort=found["site"].values.tolist())
    column = alt.Column("panel:N", header=HEADER, sort=panels(found))
    return cells.facet(column=column, row=row).properties(title=title)


def interaction_panel(found: xr.Dataset, metric: str) -> Any:
    """The 2 x 2 interaction at every boundary, with its interval; one panel a pair."""
    table, unit = first_read(found).to_dataframe().reset_index().assign(zero=0.0), unit_of(metric)
    x = alt.X("layer:Q", axis=alt.Axis(tickMinStep=1, format="d"), title="first layer above the boundary")
    y = alt.Y("interaction:Q", title=f"{metric.replace('_', ' ')}{f' ({unit.strip()})' if unit else ''}")
    plain = alt.Chart().encode(x=x)
    ends = [alt.Tooltip(f"interaction{end}:Q", format="+.3f") for end in ("", "_low", "_high")]
    parts = [
        alt.Chart().mark_rule(color=MUTED, strokeDash=[3, 3]).encode(y="zero:Q"),
        plain.mark_area(opacity=0.15, color=LINE).encode(y=alt.Y("interaction_low:Q"), y2="interaction_high:Q"),
        plain.mark_line(color=LINE).encode(y=y),
        plain.mark_point(color=LINE, filled=True).encode(y=y, tooltip=["pair", "layer", *ends]),
    ]
    layered = alt.layer(*parts, data=table).properties(width=300, height=180)
    faceted = layered.facet(alt.Facet("pair:N", header=HEADER, sort=table["pair"].unique().tolist()), columns=2)
    return faceted.properties(title="Interaction of lower and upper layers")


def held_leaves(held: xr.Dataset) -> Any:
    """Share of trajectories that leave the unpatched recipient's, by site and layer, both directions side by side."""
    return themed(held_panels(held))
