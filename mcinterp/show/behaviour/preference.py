"""The picture of preference order: URIAL classes along the text, and what became of each rank under the base."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.show.theme import LINE, stage_colours, stage_scale, themed
from mcinterp.statistics import bootstrap
from mcinterp.summary.behaviour.preference import WHERE

DRAWS = 300
LEAST_PROMPTS = 0.1
NOT_FIRST = {"shifted": 1.0, "marginal": 0.45}
NAMES = {"shifted": "above 3 (shifted)", "marginal": "2-3 (marginal)"}
TEXTS = {"own": "its own text", "base": "the base's text"}
WIDE, FLAT, NARROW, TALL = 215, 84, 152, 130


def picture(dataset: xr.Dataset) -> Any:
    """Classes of the greedy token by position, and below them what became of the ranks under the base.

    Above, a column a stage and a row a text: how often the stage's most likely token is not the base's, over the
    prompts whose text goes so far (a tenth of all at least), tokens that end the text left out. Below, along the
    base's text (each stage's own where that was not read): change of log-probability by base rank at the first token
    and at later ones, the probability that moved at the first, and the agreement of the two orders by position. Bands
    are 95 % intervals over templates.
    """
    stages = [str(provenance_of(dataset).get("base", "base")), *dataset["stage"].values.tolist()]
    texts = [name for name in TEXTS if name in dataset["along"].values]
    tables = {
        (stage, along): class_table(dataset.sel(stage=stage, along=along)) for stage in stages[1:] for along in texts
    }
    far = max(highest(table) for table in tables.values())
    scale = alt.Scale(domain=[0, min(1.0, 1.08 * far) or 1.0], nice=False)
    columns = [
        alt.vconcat(
            *(class_bars(tables[stage, along], stage, along, stages, texts, scale) for along in texts), spacing=8
        )
        for stage in stages[1:]
    ]
    title = "How often the stage's most likely token is not the base's, by position"
    above = alt.hconcat(*columns, spacing=14).resolve_scale(color="independent").properties(title=title)
    return themed(
        alt.vconcat(above, below(dataset.sel(along=texts[-1]), stages, TEXTS[texts[-1]]), spacing=24).resolve_scale(
            color="independent"
        )
    )


def class_bars(
    table: pd.DataFrame, stage: str, along: str, stages: list[str], texts: list[str], scale: alt.Scale
) -> Any:
    """Shares of the two classes at every position of one stage's texts."""
    first, top, bottom = stage == stages[1], along == texts[0], along == texts[-1]
    tints = [tint(stage_colours(stages)[stage], strength) for strength in NOT_FIRST.values()]
    legend = alt.Legend(title="rank under the base", labelExpr=label(NAMES), symbolType="square", symbolSize=90)
    colour = alt.Color(
        "class:N",
        sort=list(NOT_FIRST),
        scale=alt.Scale(domain=list(NOT_FIRST), range=tints),
        legend=legend if top and stage == stages[-1] else None,
    )
    across = alt.Axis(labelAngle=0, values=list(range(0, 500, 5)), labels=bottom, ticks=bottom, grid=False)
    up = alt.Axis(tickCount=4, format="%", labelExpr=alt.Undefined if first else "' '")
    head = alt.Title(stage, anchor="middle", frame="group", fontWeight="normal")
    return (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("position:O", title="tokens after the prompt" if bottom else None, axis=across),
            y=alt.Y("share:Q", title=TEXTS[along] if first else None, scale=scale, axis=up),
            color=colour,
            order=alt.Order("place:Q"),
            tooltip=["position", "class", alt.Tooltip("share:Q", format=".3f"), "prompts"],
        )
        .properties(width=WIDE, height=FLAT, **({"title": head} if top else {}))
    )


def highest(table: pd.DataFrame) -> float:
    """The highest stack of bars."""
    heights = np.bincount(table["position"].to_numpy(int), weights=table["share"].to_numpy(float))
    return float(heights.max()) if len(heights) else 0.0


def tint(colour: str, strength: float) -> str:
    """A colour mixed with white."""
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - strength * (255 - part)):02x}" for part in parts)


def label(names: dict[str, str]) -> str:
    """A Vega expression that writes long names for short ones."""
    pairs = ", ".join(f"'{short}': '{long}'" for short, long in names.items())
    return f"({{{pairs}}})[datum.value]"


def class_table(read: xr.Dataset) -> pd.DataFrame:
    """Share of marginal and shifted by position, over the prompts whose greedy token there does not end the text."""
    classes = provenance_of(read)["classes"]
    there = (read["shift_class"] >= 0) & (read["greedy_ends"] != 1)
    count = there.sum("prompt")
    enough = count >= max(1.0, LEAST_PROMPTS * read.sizes["prompt"])
    rows = []
    for place, name in enumerate(NOT_FIRST):
        share = ((read["shift_class"] == classes.index(name)) & there).sum("prompt") / count.clip(1)
        for position in read["position"].values[enough.values].tolist():
            at = {"position": position, "share": float(share.sel(position=position))}
            rows.append({**at, "class": name, "place": place, "prompts": int(count.sel(position=position))})
    return pd.DataFrame(rows, columns=["position", "share", "class", "place", "prompts"])


def below(read: xr.Dataset, stages: list[str], text: str) -> Any:
    """Changes by base rank and the agreement of the orders, along one text."""
    nats, moved = "log q - log p (nats)", "probability, q - p"
    panels = [
        rank_lines(read, "log_prob_change", "first", stages, "Log-probability, first token", nats),
        rank_lines(read, "log_prob_change", "later", stages, "Log-probability, later tokens", nats),
        rank_lines(read, "mass_change", "first", stages, "Probability, first token", moved),
        order_lines(read, stages),
    ]
    title = f"Change by rank under the base, along {text}"
    return alt.hconcat(*panels, spacing=12).resolve_scale(color="independent").properties(title=title)


def rank_lines(read: xr.Dataset, name: str, where: str, stages: list[str], title: str, axis: str) -> Any:
    """Mean of a change over the tokens of every bin of base ranks, one line a stage."""
    cut = WHERE[where](read)
    table = interval_table(cut[name].mean("position"), "base_rank", cut["template"].values.tolist())
    x = alt.X("base_rank:O", sort=read["base_rank"].values.tolist(), title="rank", axis=alt.Axis(labelAngle=-60))
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=LINE, strokeDash=[3, 3], strokeWidth=0.7)
    return alt.layer(zero.encode(y="zero:Q"), *lines(table, x, axis, stages)).properties(
        width=NARROW, height=TALL, title=alt.Title(title, frame="group", fontSize=12, fontWeight="normal")
    )


def order_lines(read: xr.Dataset, stages: list[str]) -> Any:
    """Kendall's tau of the base's top tokens by position, one line a stage."""
    count = read["kendall_tau"].isel(stage=0, drop=True).notnull().sum("prompt")
    kept = read.sel(position=count >= max(1.0, LEAST_PROMPTS * read.sizes["prompt"]))
    table = interval_table(kept["kendall_tau"], "position", read["template"].values.tolist())
    x = alt.X("position:Q", title="tokens after the prompt", axis=alt.Axis(tickMinStep=1, grid=False))
    legend = alt.Legend(
        title=None, values=stages[1:], symbolOpacity=1, symbolStrokeWidth=3, symbolType="stroke", orient="right"
    )
    head = alt.Title("Order of the top tokens", frame="group", fontSize=12, fontWeight="normal")
    return alt.layer(*lines(table, x, "Kendall's tau", stages, legend)).properties(
        width=NARROW, height=TALL, title=head
    )


def interval_table(values: xr.DataArray, along: str, groups: list[str]) -> pd.DataFrame:
    """Mean over prompts with its 95 % interval over templates, by stage and one more axis."""
    arrays = values.transpose("prompt", "stage", along)
    found = bootstrap(arrays.values.astype(float), groups, draws=DRAWS)
    index = pd.MultiIndex.from_product([arrays["stage"].values, arrays[along].values], names=["stage", along])
    columns = {name: np.ravel(end) for name, end in zip(("mean", "low", "high"), found, strict=True)}
    return pd.DataFrame(columns, index=index).reset_index()


def lines(
    table: pd.DataFrame, x: alt.X, title: str | None, stages: list[str], legend: alt.Legend | None = None
) -> list[Any]:
    """A band and a line a stage."""
    colour = alt.Color("stage:N", scale=stage_scale(stages), sort=stages[1:], legend=legend)
    plain = alt.Chart(table).encode(x=x, color=colour)
    tooltip = ["stage", *(alt.Tooltip(f"{name}:Q", format="+.3f") for name in ("mean", "low", "high"))]
    band = plain.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    line = plain.mark_line(point=alt.OverlayMarkDef(size=18), strokeWidth=1.5).encode(
        y=alt.Y("mean:Q", title=title), tooltip=tooltip
    )
    return [band, line] if np.isfinite(table["low"].to_numpy()).any() else [line]
