"""Pictures of lens readings: entropies by depth and position with one prompt's grid, where stages part, and onsets."""

from itertools import product
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.landmarks import most_changed_prompts
from mcinterp.show import figures
from mcinterp.show.marks import (
    ENDS,
    colours,
    columns,
    interval_table,
    line_layers,
    lines,
    mean_table,
    shortened,
    small,
    zero,
)
from mcinterp.show.theme import PAPER, later_scale, themed

READ_AT = {"last": "after the prompt", "widest": "where the gap is widest", "completion": "mean along the completion"}


def logit_lens(lens: xr.Dataset, *, prompt: int | None = None) -> Any:
    """Entropy (nats) by depth under every lens and along the completion, above one prompt's grid of top tokens.

    Lines are means over prompts with 95 % intervals over templates. The grid shows base, last stage and difference of
    one prompt (by default the one that changed most) under the stages' own lens.
    """
    index = most_changed_prompts(lens, 1)[0] if prompt is None else prompt
    names = lens["lens"].values.tolist()
    panels = [figures.depth_panel(lens, name).properties(width=330, height=200) for name in names]
    if int((lens["position"] >= 0).sum()) > 1:
        panels.append(figures.position_panel(lens).properties(width=260, height=200))
    grid = figures.grid_panels(lens, pd.DataFrame(figures.lens_cells(lens, index, "own")))
    said = alt.TitleParams(f"One prompt: {shortened(str(lens['text'].values[index]), 80)}", offset=10)
    return themed(alt.vconcat(alt.hconcat(*panels), grid.properties(title=said), spacing=28))


def landmark_positions(marks: xr.Dataset) -> Any:
    """Where a stage leaves the base: the widest entropy gap (nats) of every prompt, and the share that has parted.

    Left, one point a prompt and stage. Right, the share of prompts whose greedy choices have parted up to a position,
    with its 95 % interval over templates.
    """
    stages = marks["stage"].values.tolist()
    colour = colours("stage", stages, later_scale(stages))
    kept = marks[["widest_position", "widest_gap"]].to_dataframe().reset_index()
    x = alt.X(
        "widest_position:Q", title="tokens after the prompt", axis=alt.Axis(tickMinStep=1, format="d", grid=False)
    )
    points = alt.Chart(kept[["stage", "prompt", "widest_position", "widest_gap"]]).mark_point(
        filled=True, size=36, opacity=0.75
    )
    widest = points.encode(
        x=x,
        y=alt.Y("widest_gap:Q", title="entropy, stage minus base (nats)", scale=alt.Scale(zero=True)),
        color=colour,
        tooltip=["stage", "prompt", "widest_position", alt.Tooltip("widest_gap:Q", format="+.3f")],
    )
    left = alt.layer(zero("y"), widest).properties(width=260, height=190, title=small("The widest gap of each prompt"))
    ends = [float(np.nanmax(marks[f"{name}_position"].values, initial=1.0)) for name in ("widest", "parting")]
    last = int(max(ends))
    steps = xr.DataArray(np.arange(last + 1), dims="position", coords={"position": np.arange(last + 1)})
    parted = (marks["parting_position"] <= steps).astype(float).assign_coords(template=marks["template"])
    table = columns(mean_table(parted), "stage", "position", *ENDS)
    x = alt.X("position:Q", title="tokens after the prompt", axis=alt.Axis(tickMinStep=1, format="d", grid=False))
    right = lines(
        table, x, "share of prompts", colour, scale=alt.Scale(domain=[0, 1]), height=190, shown=["stage", "position"]
    ).properties(title=small("Greedy choices have parted"))
    return themed(alt.hconcat(left, right, spacing=30).properties(title="Where stages leave the base"))


def onset(found: xr.Dataset) -> Any:
    """The entropy gap to the base (nats) by depth, one panel a lens and place of reading, the onset marked.

    Bands are 95 % intervals over templates. A diamond is the onset, the bar through it its 95 % interval; hollow where
    swapped labels give a final gap as large in more than 5 % of the draws.
    """
    stages = found["stage"].values.tolist()
    places, lenses = found["read_at"].values.tolist(), found["lens"].values.tolist()
    curve, marked = gap_table(found), onset_table(found)
    ends = found[["gap", "gap_low", "gap_high"]].to_array().values
    low, high = float(np.nanmin(ends, initial=0.0)), float(np.nanmax(ends, initial=0.0))
    room = 0.05 * (high - low or 1.0)
    scale = alt.Scale(domain=[low - room, high + room], nice=False)
    panels = []
    for lens, place in product(lenses, places):
        here = [pd.DataFrame(t[(t["lens"] == lens) & (t["read_at"] == place)]) for t in (curve, marked)]
        title = small(f"{READ_AT.get(place, place)}, {lens} lens")
        drawn = onset_panel(here[0], here[1], stages, scale, place == places[0], lens == lenses[-1])
        panels.append(drawn.properties(title=title))
    title = "Where in depth the entropy gap to the base begins"
    return themed(alt.concat(*panels, columns=len(places), spacing=16).properties(title=title))


def gap_table(found: xr.Dataset) -> pd.DataFrame:
    """One row a place of reading, lens, stage and depth."""
    table = interval_table(found, "gap", "read_at", "lens", "stage", "depth")
    return table.assign(p_value=found["p_value"].to_dataframe().reset_index()["p_value"])


def onset_table(found: xr.Dataset) -> pd.DataFrame:
    """One row an onset that is there, with the depths of its interval and the gap at which it is drawn."""
    depths = found["depth"].values.tolist()
    table = (
        found[["onset", "onset_low", "onset_high", "onset_null_low", "onset_null_high"]].to_dataframe().reset_index()
    )
    table = table[np.isfinite(table["onset"])]
    names = {
        name: [depths[round(v)] if np.isfinite(v) else None for v in table[name]]
        for name in ("onset", "onset_low", "onset_high", "onset_null_low", "onset_null_high")
    }
    keys = list(zip(table["read_at"], table["lens"], table["stage"], strict=True))
    at = [found.sel(read_at=r, lens=n, stage=s) for r, n, s in keys]
    gap = [float(one["gap"].sel(depth=d)) for one, d in zip(at, names["onset"], strict=True)]
    doubt = [float(one["p_value"].isel(depth=-1)) > 0.05 for one in at]
    return columns(table, "read_at", "lens", "stage").assign(**names, gap=gap, doubt=doubt)


def onset_panel(
    curve: pd.DataFrame, marked: pd.DataFrame, stages: list[str], scale: alt.Scale, first: bool, last: bool
) -> Any:
    """One lens and place of reading."""
    colour = colours("stage", stages, later_scale(stages))
    axis = alt.Axis(labelAngle=-60, labels=last, ticks=last)
    x = alt.X("depth:N", sort=None, title="depth (layer_site)" if last else None, axis=axis)
    title = "entropy gap (nats)" if first else None
    drawn = line_layers(curve, x, title or "", colour, scale, ["stage", "depth", "p_value"])
    plain = alt.Chart(marked).encode(color=colour, y=alt.Y("gap:Q", title=title, scale=scale))
    bars = plain.mark_rule(strokeWidth=2.5).encode(x=alt.X("onset_low:N", sort=None), x2="onset_high:N")
    shown = ["stage", *(alt.Tooltip(f"{name}:N") for name in marked if str(name).startswith("onset"))]
    shape = plain.mark_point(shape="diamond", size=110, filled=True, opacity=1)
    points = shape.encode(x=alt.X("onset:N", sort=None), tooltip=shown)
    inner = alt.Chart(marked[marked["doubt"]]).mark_point(shape="diamond", size=28, filled=True, opacity=1)
    holes = inner.encode(x=alt.X("onset:N", sort=None), y="gap:Q", color=alt.value(PAPER))
    marks = [bars, points, *([holes] if any(marked["doubt"]) else [])] if len(marked) else []
    return alt.layer(*drawn, *marks).properties(width=250, height=150)
