"""Pictures of a direction between two stages: how far prompts agree on it, and what each dose of it does."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.direction.response import dose_response as responses
from mcinterp.results import provenance_of
from mcinterp.show.marks import ENDS, colours, columns, dots, hover, known, numbered, small, zero
from mcinterp.show.theme import MUTED, part_scale, site_scale, themed

MOST_PROMPTS = 30
STROKES = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=2)
COSINES = {
    "cosine_to_direction": "the prompt's own difference",
    "cosine_to_readout": "the readout of its attractor",
}
SAID = {"entropy": "entropy", "attractor_log_odds": "attractor's log-odds", "attractor_log_prob": "its log-probability"}


def attractor_direction(found: xr.Dataset) -> Any:
    """How far the direction agrees with what single prompts say: one row a prompt, at most the first 30.

    Cosines: of the prompt's own difference with the mean over the other prompts, and of the direction with the stage's
    readout of the prompt's attractor. The title names layer, site, and the direction's length.
    """
    some = found.isel(prompt=slice(0, MOST_PROMPTS))
    names = numbered([str(text) for text in some["text"].values], 36)
    parts = [pd.DataFrame({"prompt": names, "of": said, "cosine": some[n].values}) for n, said in COSINES.items()]
    kinds = list(COSINES.values())
    table = pd.concat(parts).assign(mean=lambda rows: rows["cosine"], low=np.nan, high=np.nan)
    table = columns(known(table), "prompt", "of", *ENDS)
    drawn = dots(
        table, "prompt", names, "cosine with the direction", colours("of", kinds, site_scale(kinds), orient="top"),
        scale=alt.Scale(domain=[-1, 1]), shown=["of"],
    )  # fmt: skip
    where = f"{found.attrs.get('site', 'residual')} of layer {found.attrs.get('layer', '?')}"
    title = f"Direction from {found.attrs.get('recipient', 'base')} to {found.attrs.get('donor', 'tuned')}: {where}"
    said = alt.TitleParams(title, subtitle=f"length {float(found['direction_norm']):.2f}")
    return themed(drawn.properties(title=said))


def steer(steered: xr.Dataset) -> Any:
    """Share of the gap that each dose of the direction moves, in entropy and in the attractor's log-odds.

    Bands are 95 % intervals over templates; dashed, the mean of random directions of the same length.
    """
    names = [name for name in SAID if name in steered and name != "attractor_log_prob"]
    panels = [dose_panel(responses(steered, name), name) for name in names]
    title = "Dose and response of the attractor direction"
    return themed(alt.hconcat(*panels, spacing=26).properties(title=title))


def dose_response(found: xr.Dataset) -> Any:
    """Share of the gap in one metric that each dose of the direction moves, with 95 % intervals over templates.

    Dashed, the mean of random directions of the same length.
    """
    panel = dose_panel(found, str(provenance_of(found).get("metric", "entropy")))
    return themed(panel.properties(title="Dose and response of the attractor direction"))


def dose_panel(found: xr.Dataset, metric: str) -> Any:
    """One metric; a line an operation."""
    operations = found["operation"].values.tolist()
    own = found[["share", "share_low", "share_high"]].rename(share="mean", share_low="low", share_high="high")
    table = (
        own.to_dataframe().reset_index()[["operation", "coefficient", "mean", "low", "high"]].assign(what="direction")
    )
    random = found["random_share"].to_dataframe("mean").reset_index()[["operation", "coefficient", "mean"]]
    table = pd.concat([table, random.assign(what="random direction")], ignore_index=True)
    table = table[np.isfinite(table["mean"].to_numpy(dtype=float))]
    colour, kinds = colours("operation", operations, part_scale(operations)), ["direction", "random direction"]
    plain = alt.Chart(table).encode(x=alt.X("coefficient:Q", title="dose", axis=alt.Axis(grid=False)), color=colour)
    title = f"share of the gap in {SAID.get(metric, metric)}"
    band = plain.transform_filter(alt.datum.what == "direction").mark_area(opacity=0.13)
    dash = alt.StrokeDash("what:N", scale=alt.Scale(domain=kinds, range=[[1, 0], [4, 3]]), legend=STROKES)
    line = plain.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        y=alt.Y("mean:Q", title=title), strokeDash=dash, tooltip=hover("operation", "what", "coefficient")
    )
    one = alt.Chart(pd.DataFrame({"at": [1.0]})).mark_rule(color=MUTED, strokeDash=[2, 2]).encode(y="at:Q")
    layers = [zero("y"), one, band.encode(y=alt.Y("low:Q", title=title), y2="high:Q"), line]
    return alt.layer(*layers).properties(width=280, height=210, title=small(SAID.get(metric, metric)))
