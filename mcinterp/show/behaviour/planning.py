"""The picture of planning: what probes decode of the tokens ahead by layer, and what a patch at one place moves."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.show.theme import LINE, stage_scale, themed
from mcinterp.summary.behaviour.planning import NEXT, curve_entries, patch_entries, probe_values, summary

WIDE, HIGH = 150, 105
DRAWS = 300
ROWS = ("base", "matched", "stage")
LEGEND = alt.Legend(title=None, orient="bottom", symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3)


def picture(dataset: xr.Dataset) -> Any:
    """Shares of log loss that probes take off the embedding's, and effects of patches, by layer.

    Rows are whose texts are read: the base's (by all stages), the base's at the last stage's entropy, and the last
    stage's (by the base and the last stage). Dashed: a probe of permuted targets, a residual moved as far at random.
    """
    found = summary(dataset, draws=DRAWS)
    left, right = probe_panels(dataset, found), patch_panels(found)
    return themed(alt.hconcat(left, right, spacing=30).resolve_scale(color="shared"))


def probe_picture(dataset: xr.Dataset) -> Any:
    """Shares of log loss that a linear probe of a layer takes off the embedding's, by target and whose texts are read.

    Means with 95 % intervals over templates; dashed, probes of permuted targets.
    """
    found = {"stages": dataset["stage"].values.tolist()}
    found["curves"] = curve_entries(dataset, probe_values(dataset), DRAWS)
    return themed(probe_panels(dataset, found))


def patch_picture(dataset: xr.Dataset) -> Any:
    """What the residual of another prompt at one place and layer moves, over what the whole donor prompt does.

    Means with 95 % intervals over templates; dashed, a residual moved as far at random.
    """
    found = {"stages": dataset["stage"].values.tolist(), "patches": patch_entries(dataset, DRAWS)}
    return themed(patch_panels(found))


def probe_panels(dataset: xr.Dataset, found: dict[str, Any]) -> Any:
    """A row whose texts are read, a column a target ahead."""
    stages, probed = found["stages"], curve_table(found)
    targets = [target for target in dataset["ahead"].values.tolist() if target != "1"]
    last = len(ROWS) - 1
    rows = [
        alt.hconcat(*(probe_panel(probed, stages, row, each, each == targets[0], row == last) for each in targets))
        for row in range(len(ROWS))
    ]
    head = "Log loss of the token ahead that a linear probe takes off (share; 0: the token's embedding)"
    return alt.vconcat(*rows, spacing=6).properties(title=head)


def patch_panels(found: dict[str, Any]) -> Any:
    """A panel a reach."""
    stages, moved = found["stages"], patch_table(found)
    reaches = list(dict.fromkeys(moved["reach"]))
    panels = [patch_panel(moved, stages, reach, reach == reaches[0]) for reach in reaches]
    return alt.vconcat(*panels, spacing=14).properties(title="Patched at the prompt's last token")


def row_name(row: int, stages: list[str]) -> str:
    """Whose texts a row of panels is on."""
    return [f"texts: {stages[0]}", f"{stages[0]}, as sure", f"texts: {stages[-1]}"][row]


def curve_table(found: dict[str, Any]) -> pd.DataFrame:
    """One line a stage on every row: the base's and the last stage's reading, and all stages' of the base's texts."""
    base, last = found["stages"][0], found["stages"][-1]
    rows = []
    for entry in found["curves"]:
        writer, reader, stage = entry["writer"], entry["reader"], entry["stage"]
        drawn = reader if stage == last else "stage" if writer == "base" and stage != base else ""
        if drawn == reader:
            value, control = entry["share"], entry["shuffled"]["mean"]
            line = base if reader == "base" else stage
            rows.append(
                {"writer": writer, "ahead": entry["ahead"], "layer": entry["layer"], "stage": line, "control": control}
                | {"share": value["mean"], "low": value["ci_low"], "high": value["ci_high"]}
            )
    return pd.DataFrame(rows)


def probe_panel(table: pd.DataFrame, stages: list[str], row: int, target: str, first: bool, last: bool) -> Any:
    """One target on one writer's texts."""
    here = pd.DataFrame(table[(table["writer"] == ROWS[row]) & (table["ahead"] == target)])
    low, high = ends_of(pd.DataFrame(table[table["ahead"] == target]))
    scale = alt.Scale(domain=[min(-0.02, low), 1.05 * max(high, 0.05)], nice=False)
    title = row_name(row, stages) if first else None
    lines = layered(here, stages, title, scale, last)
    control = alt.Chart(here).mark_line(color=LINE, strokeDash=[4, 3], strokeWidth=1)
    control = control.encode(x=layer_axis(last), y=alt.Y("mean(control):Q", title=title, scale=scale))
    panel = alt.layer(control, *lines).properties(width=WIDE, height=HIGH)
    name = "last word of the next line" if target == "line end" else f"{target} tokens ahead"
    heading = alt.Title(name, anchor="middle", frame="group", fontWeight="normal")
    return panel.properties(title=heading) if row == 0 else panel


def ends_of(table: pd.DataFrame) -> tuple[float, float]:
    """The least and the largest value that is drawn, intervals of the first and last stage and control included."""
    columns = table[["low", "share", "high", "control"]]
    return float(columns.min().min()), float(columns.max().max())


def layer_axis(named: bool) -> alt.X:
    """Layers as whole numbers."""
    return alt.X("layer:Q", title="layer" if named else None, axis=alt.Axis(tickMinStep=1, grid=False, labels=named))


def layered(here: pd.DataFrame, stages: list[str], title: str | None, scale: alt.Scale, named: bool) -> list[Any]:
    """A line a stage with its 95 % interval as a band; the base's is broad, to be seen where others lie on it."""
    colour = alt.Color("stage:N", scale=stage_scale(stages), sort=stages, legend=LEGEND)
    plain = alt.Chart(here).encode(x=layer_axis(named), color=colour)
    tooltip = ["stage", "layer", alt.Tooltip("share:Q", format=".4f")]
    y = alt.Y("share:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4, format=".2~f"))
    shown = pd.DataFrame(here[here["stage"].isin([stages[0], stages[-1]])])
    bands = alt.Chart(shown).mark_area(opacity=0.12).encode(x=layer_axis(named), color=colour)
    bands = bands.encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q")
    below = alt.condition(f"datum.stage === {stages[0]!r}", alt.value(4.0), alt.value(1.5))
    line = plain.mark_line(point=alt.OverlayMarkDef(size=14)).encode(y=y, strokeWidth=below, tooltip=tooltip)
    return [bands, line]


def patch_table(found: dict[str, Any]) -> pd.DataFrame:
    """Effects of every stage, reach and layer as shares of the whole donor prompt's."""
    return pd.DataFrame(
        [
            {"stage": entry["stage"], "reach": entry["reach"], "layer": at["layer"], "share": at["effect"]["mean"]}
            | {"low": at["effect"]["ci_low"], "high": at["effect"]["ci_high"], "control": at["random"]["mean"]}
            for entry in found["patches"]
            for at in entry["by_layer"]
        ],
        columns=["stage", "reach", "layer", "share", "low", "high", "control"],
    )


def patch_panel(table: pd.DataFrame, stages: list[str], reach: str, first: bool) -> Any:
    """What one layer's residual of another prompt moves, over what the whole prompt does."""
    here = pd.DataFrame(table[table["reach"] == reach])
    low, high = ends_of(here)
    scale = alt.Scale(domain=[min(-0.01, low), 1.05 * max(high, 0.02)], nice=False)
    axis = "effect / donor prompt's"
    control = alt.Chart(here).mark_line(color=LINE, strokeDash=[4, 3], strokeWidth=1)
    control = control.encode(x=layer_axis(True), y=alt.Y("mean(control):Q", title=axis, scale=scale))
    title = "on the next token (control)" if reach == NEXT else "on the token planned behind forced words"
    drawn = alt.layer(control, *layered(here, stages, axis, scale, True))
    return drawn.properties(width=220, height=140, title=alt.Title(title, fontWeight="normal", frame="group"))
