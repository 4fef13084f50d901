"""Pictures of exchanged weights: grafts of groups in both directions, ranges of layers, and the way to tuned."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.effects import effects, main_metric
from mcinterp.results import provenance_of
from mcinterp.show.marks import ENDS, HEADER, cells, columns, heat, hover, mean_table, signed, small
from mcinterp.show.theme import BASE, LINE, MUTED, TUNED, part_scale, themed

BAR = 15
PATH = {
    "entropy": "entropy (nats)",
    "attractor_log_prob": "attractor's log-probability (nats)",
    "attractor_log_odds": "attractor's log-odds (nats)",
    "kl_to_base": "KL(it || base), nats",
    "kl_to_tuned": "KL(it || tuned), nats",
}


def graft_sweep(grafts: xr.Dataset) -> Any:
    """Share of the gap in the main metric that every grafted group of weights moves, both directions side by side.

    Bars are means with 95 % intervals over templates, coloured by kind of weights. Of ranges of layers a map: the first
    layer of the range by its last.
    """
    found = effects(grafts, main_metric(grafts))
    if provenance_of(grafts).get("order") == "ranges":
        return themed(range_maps(found))
    order, titles = found["component"].values.tolist(), panel_titles(found)
    table = found[["share", "share_low", "share_high"]].rename(share="mean", share_low="low", share_high="high")
    table = table.to_dataframe().reset_index()[["direction", "component", "site", *ENDS]]
    table = table.assign(panel=[titles[name] for name in table["direction"]])
    sites = list(dict.fromkeys(table["site"]))
    plain = alt.Chart(table).encode(x=alt.X("component:N", sort=order, title=None, axis=alt.Axis(labelAngle=-60)))
    colour = alt.Color("site:N", scale=part_scale(sites), sort=sites, title=None)
    y = alt.Y("mean:Q", title="share of the gap")
    bars = plain.mark_bar(size=BAR - 4).encode(y=y, color=colour, tooltip=hover("component"))
    ends = plain.mark_rule(color=LINE).encode(y=alt.Y("low:Q"), y2="high:Q")
    nothing = alt.Chart(table).mark_rule(color=MUTED).encode(y=alt.datum(0))
    sized = alt.layer(nothing, bars, ends).properties(width=alt.Step(BAR), height=170)
    facet = alt.Facet("panel:N", header=HEADER, sort=list(titles.values()))
    return themed(sized.facet(facet, columns=2).properties(title="How far grafted weights move the recipient"))


def panel_titles(found: xr.Dataset) -> dict[str, str]:
    """The title of every direction's panel: its name and the gap between its ends (nats)."""
    gap = found["gap"]
    return {
        name: f"{name} (gap {float(gap.sel(direction=name)):+.2f} nats)" for name in gap["direction"].values.tolist()
    }


def range_maps(found: xr.Dataset) -> Any:
    """The share of the gap that every contiguous range of layers moves."""
    titles = panel_titles(found)
    table = found["share"].to_dataframe().reset_index()
    ends = table["component"].astype(str).str.extract(r"layers (\d+) to (\d+)").astype(int)
    table = table.assign(first=ends[0], last=ends[1], panel=[titles[name] for name in table["direction"]])
    x = alt.X("last:O", title="last layer of the range", axis=alt.Axis(labelAngle=0))
    y = alt.Y("first:O", title="first layer of the range")
    colour = heat("share", "share of the gap", signed(table["share"]))
    shown = ["component", alt.Tooltip("share:Q", format=".3f")]
    drawn = cells(columns(table, "panel", "component", "first", "last", "share"), x, y, colour, shown, step=20)
    facet = alt.Facet("panel:N", header=HEADER, sort=list(titles.values()))
    return drawn.facet(facet, columns=2).properties(title="How far a grafted range of layers moves the recipient")


def interpolate(found: xr.Dataset) -> Any:
    """Every metric (nats) along the line from the base's weights (0) through the tuned ones (1) and beyond.

    Means over prompts with 95 % intervals over templates; vertical lines in the colours of base and tuned.
    """
    names = [str(name) for name in found.data_vars if "alpha" in found[name].dims]
    panels = [path_panel(found[name], PATH.get(name, name.replace("_", " "))) for name in names]
    rows = [alt.hconcat(*panels[start : start + 3], spacing=20) for start in range(0, len(panels), 3)]
    return themed(alt.vconcat(*rows, spacing=18).properties(title="From the base's weights to the tuned ones"))


def path_panel(values: xr.DataArray, title: str) -> Any:
    """One metric along the line."""
    table = mean_table(values)[["alpha", *ENDS]]
    x = alt.X("alpha:Q", title="share of the update", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False))
    ends = [
        alt.Chart(pd.DataFrame({"alpha": [at]})).mark_rule(color=colour, strokeDash=[4, 3]).encode(x="alpha:Q")
        for at, colour in ((0.0, BASE), (1.0, TUNED))
    ]
    plain = alt.Chart(table).encode(x=x)
    band = plain.mark_area(opacity=0.15, color=LINE).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
    y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=True))
    line = plain.mark_line(color=LINE, point=alt.OverlayMarkDef(color=LINE, size=30)).encode(
        y=y, tooltip=hover("alpha")
    )
    return alt.layer(*ends, band, line).properties(width=190, height=140, title=small(title))
