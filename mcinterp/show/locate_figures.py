"""Charts of a located collapse: the ranking, what each kind of evidence says, how sites act, and the verification."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.run import Run
from mcinterp.show.marks import zero
from mcinterp.show.theme import DIVERGING, FAINT, LINE, MUTED, part_scale, themed
from mcinterp.verification.table import verification_table

MOST_ROWS, BAR, CELL, LEAST_NAMED, MOST_POSITIONS = 16, 15, 38, 0.2, 32
PROMPTS, AXIS = (LINE, FAINT), [-0.25, 1.5]
WAYS = {"necessity": "undoes", "sufficiency": "brings"}
KINDS = {
    "update": "update (counts)",
    "graft_necessity": "graft: undoes (counts)",
    "graft_sufficiency": "graft: brings (counts)",
    "patch_necessity": "patch: undoes",
    "patch_sufficiency": "patch: brings",
    "random_necessity": "random: undoes",
    "random_sufficiency": "random: brings",
    "answer_necessity": "at answer: undoes",
    "answer_sufficiency": "at answer: brings",
    "written": "writes the logit",
    "lens_own": "own lens",
    "lens_common": "base's lens",
}


def pictures(run: Run) -> dict[str, Any]:
    """The charts that a located run has, by name."""
    charts = {}
    if run.holds("sites"):
        sites = run.load("sites")
        charts["ranking"] = ranking(sites)
        charts["evidence"] = evidence_map(sites)
        charts["action"] = action(sites)
    if run.holds("heads"):
        heads = run.load("heads")
        charts["heads"] = ranking(heads.sel(component=heads["head"] >= 0), title="Attention heads")
    if run.holds("positions"):
        charts["positions"] = position_map(run.load("positions"))
    if run.holds("verification"):
        charts["verification"] = verification_bars(verification_table(run.load("verification")))
    return charts


def first(sites: xr.Dataset, names: list[str], most: int = MOST_ROWS) -> pd.DataFrame:
    """The best components as rows."""
    return sites.isel(component=slice(0, most))[names].to_dataframe().reset_index()


def ranking(sites: xr.Dataset, *, title: str = "Share of the collapse") -> Any:
    """Scores of the best components with their 95 % intervals, best first."""
    return themed(ranking_panel(sites).properties(title=title))


def ranking_panel(sites: xr.Dataset) -> Any:
    """The same as a part of a larger picture."""
    table = first(sites, ["score", "ci_low", "ci_high"])
    order, kinds = table["component"].tolist(), list(dict.fromkeys(table["site"]))
    plain = alt.Chart(table).encode(y=alt.Y("component:N", sort=order, title=None))
    tooltip = ["component", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("score", "ci_low", "ci_high"))]
    bars = plain.mark_bar(size=BAR - 4).encode(
        x=alt.X("score:Q", title="share of the collapse in log-odds"),
        color=alt.Color("site:N", scale=part_scale(kinds), sort=kinds, title=None),
        tooltip=tooltip,
    )
    ends = plain.mark_rule(color=LINE).encode(x=alt.X("ci_low:Q"), x2="ci_high:Q")
    return alt.layer(zero("x"), bars, ends).properties(width=300, height=alt.Step(BAR + 3))


def evidence_map(sites: xr.Dataset) -> Any:
    """What every kind of evidence says of the best components; the first three columns are what the score weighs."""
    return themed(evidence_panel(sites).properties(title="What each kind of evidence says"))


def evidence_panel(sites: xr.Dataset) -> Any:
    """The same as a part of a larger picture."""
    names = {f"{kind}_share": said for kind, said in KINDS.items()}
    table = first(sites, list(names)).rename(columns=names)
    order, kinds = table["component"].tolist(), list(KINDS.values())
    cells = table.melt(id_vars=["component"], value_vars=kinds, var_name="kind", value_name="share").dropna()
    cells["words"] = [f"{share:.2f}" for share in cells["share"]]
    far = max(1.0, float(np.nanmax(np.abs(cells["share"]))))
    plain = alt.Chart(cells).encode(
        x=alt.X("kind:N", sort=kinds, title=None, axis=alt.Axis(labelAngle=-40, orient="bottom")),
        y=alt.Y("component:N", sort=order, title=None),
    )
    scale = alt.Scale(scheme=DIVERGING, domain=[-far, far], domainMid=0, clamp=True)
    boxes = plain.mark_rect().encode(
        color=alt.Color("share:Q", scale=scale, title="share"),
        tooltip=["component", "kind", alt.Tooltip("share:Q", format=".3f")],
    )
    words = plain.mark_text(fontSize=10).encode(
        text="words:N", color=alt.condition(f"abs(datum.share) > {0.6 * far}", alt.value("white"), alt.value("black"))
    )
    return (boxes + words).properties(width=alt.Step(CELL), height=alt.Step(BAR + 3))


def action(sites: xr.Dataset) -> Any:
    """Grafts of every component: what it brings alone against what undoing it undoes; the corners are the verdicts."""
    table = sites[["graft_necessity_share", "graft_sufficiency_share", "score"]].to_dataframe().reset_index()
    table = table.rename(columns=lambda name: name.removesuffix("_share"))
    kinds = list(dict.fromkeys(table["site"]))
    named = pd.DataFrame(table[table["score"] >= LEAST_NAMED])
    corners = pd.DataFrame(
        {
            "x": [0.97, 0.93, 0.0],
            "y": [1.0, 0.0, 1.0],
            "says": ["makes it alone", "one of two redundant", "one of two joint"],
        }
    )
    ends = [min(-0.15, float(table[["graft_necessity", "graft_sufficiency"]].min().min()))]
    ends.append(max(1.15, float(table[["graft_necessity", "graft_sufficiency"]].max().max())))
    x = alt.X("graft_sufficiency:Q", title="brings alone (share)", scale=alt.Scale(domain=ends))
    y = alt.Y("graft_necessity:Q", title="undone without it (share)", scale=alt.Scale(domain=ends))
    points = alt.Chart(table).mark_point(filled=True, size=70, opacity=0.9).encode(
        x=x, y=y, color=alt.Color("site:N", scale=part_scale(kinds), sort=kinds, title=None),
        tooltip=["component", *(alt.Tooltip(f"{n}:Q", format=".3f") for n in ("graft_necessity", "graft_sufficiency"))],
    )  # fmt: skip
    words = alt.Chart(named).mark_text(dx=7, dy=-6, align="left", fontSize=11).encode(x=x, y=y, text="component:N")
    hints = alt.Chart(corners).mark_text(fontSize=10, color=MUTED, fontStyle="italic", dy=13).encode(
        x=alt.X("x:Q"), y=alt.Y("y:Q"), text="says:N"
    )  # fmt: skip
    return themed((hints + points + words).properties(width=300, height=260, title="How single sites act"))


def position_map(positions: xr.Dataset) -> Any:
    """What patching each named site at a single position undoes and brings, on average over prompts (nats)."""
    mean = positions[list(WAYS)].rename(WAYS).mean("prompt").to_array("way", name="effect")
    table = mean.to_dataframe().reset_index()[["way", "component", "position", "effect"]].dropna()
    table = table[table["position"] > -MOST_POSITIONS]
    order = positions["component"].values.tolist()
    far = max(0.1, float(np.abs(table["effect"]).max()))
    scale = alt.Scale(scheme=DIVERGING, domain=[-far, far], domainMid=0)
    axis = alt.Axis(labelAngle=0, labelOverlap="greedy")
    cells = alt.Chart(table).mark_rect().encode(
        x=alt.X("position:O", title="position (0 is the last prompt token)", axis=axis),
        y=alt.Y("component:N", sort=order, title=None),
        color=alt.Color("effect:Q", scale=scale, title="nats"),
        tooltip=["way", "component", "position", alt.Tooltip("effect:Q", format="+.3f")],
    )  # fmt: skip
    sized = cells.properties(width=alt.Step(15), height=alt.Step(BAR + 3))
    header = alt.Header(title=None, labelFontSize=12, labelFontWeight=600, labelAnchor="start")
    facet = alt.Facet("way:N", header=header, sort=list(WAYS.values()))
    return themed(sized.facet(facet, columns=1).properties(title="Where the named sites act"))


def verification_bars(table: xr.Dataset, *, beside: Any = None) -> Any:
    """The share of the lost entropy that every edit brings back, on locating and held-out prompts, with intervals.

    `beside` is a panel to stand below.
    """
    rows = table[["regained", "regained_low", "regained_high"]].to_dataframe().reset_index()
    rows = rows[~rows["edit"].isin(["tuned", "base"]) & rows["regained"].notnull()]
    rows["what"] = [f"{edit} ({sites})" if kind != "random" and sites else edit
                    for edit, kind, sites in zip(rows["edit"], rows["kind"], rows["sites"], strict=True)]  # fmt: skip
    order, parts = list(dict.fromkeys(rows["what"])), list(dict.fromkeys(rows["part"]))
    titles = {"located": "locating prompts", "held_out": "held-out prompts"}
    rows["prompts"] = [titles[part] for part in rows["part"]]
    plain = alt.Chart(rows).encode(
        y=alt.Y("what:N", sort=order, title=None, axis=alt.Axis(labelLimit=320)),
        yOffset=alt.YOffset("prompts:N", sort=[titles[part] for part in parts]),
    )
    said = [titles[part] for part in parts]
    scale = alt.Scale(domain=said, range=list(PROMPTS)[: len(said)])
    colour = alt.Color("prompts:N", sort=said, title=None, scale=scale)
    axis = alt.Scale(domain=AXIS, clamp=True, nice=False)
    bars = plain.mark_bar(size=6).encode(
        x=alt.X("regained:Q", title="share of the lost entropy that is back", scale=axis),
        color=colour,
        tooltip=["what", "prompts", alt.Tooltip("regained:Q", format=".3f")],
    )
    ends = plain.mark_rule(color=LINE).encode(x=alt.X("regained_low:Q"), x2="regained_high:Q")
    drawn = alt.layer(zero("x"), bars, ends).properties(width=320, height=alt.Step(9), title="What undoing brings back")
    if beside is None:
        return themed(drawn)
    return themed(alt.vconcat(drawn, beside, spacing=22).resolve_scale(color="independent"))
