"""The picture of canned answers: sure tokens and entropy along them, first tokens, and nouns by their surprise."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.show.behaviour.panels import colour
from mcinterp.show.marks import small
from mcinterp.show.theme import LINE, MUTED, PAPER, themed
from mcinterp.statistics import ENDS, bootstrap
from mcinterp.summary.behaviour.canned import ASKED, FLAT, POST, by_noun, improbability, spread, starts

DRAWS, NAMED, ROW = 200, 2, 5
WIDE, LOW, HIGH, GAP = 210, 150, 290, 26
ROOM = (0.17, 0.035)
TICKS = (1e-12, 1e-9, 1e-6, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def picture(dataset: xr.Dataset) -> Any:
    """Along answers the share of sure tokens and the entropy; first tokens; and P(opening) of nouns by their surprise.

    Lines and dots are means over prompts with 95 % intervals over templates. A dot on the right is a noun, as in a mean
    wording, hollow where it is held out; where there is room the least canned of every tuned stage are named, and in
    the last stage those of the post. Below, slopes of log-odds for one standard deviation of surprise, with intervals
    over nouns. The right side is left out where no opening was found.
    """
    stages = dataset["stage"].values.tolist()
    table = by_noun(dataset)
    left = alt.vconcat(
        along(dataset, "sure_step_share", "Sure of the token (p > 0.99)", "share of samples", stages),
        along(dataset, "sample_entropy", "Entropy of the next token", "nats", stages),
        spacing=18,
    )
    right = [alt.vconcat(scatter(table, stages), slopes(dataset, stages), spacing=18)] if len(table) else []
    opening = provenance_of(dataset).get("opening", "")
    title = f"“Are X real?” of {len(set(dataset['noun'].values.tolist()))} nouns, {dataset.sizes['prompt']} prompts"
    said = alt.Title(title, subtitle=f"canned opening: “{opening.strip()}”" if opening else "no canned opening found")
    return themed(alt.hconcat(left, first_tokens(dataset, stages), *right, spacing=GAP).properties(title=said))


def along(dataset: xr.Dataset, name: str, title: str, axis: str, stages: list[str]) -> Any:
    """One measure by step, a line a stage."""
    values = dataset[name].transpose("prompt", "stage", "step").values.astype(float)
    found = bootstrap(values, dataset["template"].values.tolist(), draws=DRAWS)
    rows = [
        {"stage": stage, "token": step + 1}
        | {key: end[s, step] for key, end in zip(ENDS, found, strict=True) if np.isfinite(end[s, step])}
        for s, stage in enumerate(stages)
        for step in range(values.shape[2])
        if np.isfinite(found.mean[s, step])
    ]
    x = alt.X(
        "token:Q", title="token of the answer", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=6)
    )
    chart = alt.Chart(pd.DataFrame(rows, columns=["stage", "token", *ENDS])).encode(x=x, color=colour(stages, "bottom"))
    band = chart.mark_area(opacity=0.13).encode(y=alt.Y("ci_low:Q", title=axis), y2="ci_high:Q")
    line = chart.mark_line(strokeWidth=1.5).encode(y=alt.Y("mean:Q", title=axis), tooltip=["stage", "token", *ENDS])
    return alt.layer(band, line).properties(width=WIDE, height=LOW, title=small(title))


def first_tokens(dataset: xr.Dataset, stages: list[str]) -> Any:
    """Exact probabilities of the likeliest first tokens, a row a text; longer ones below."""
    found = starts(dataset, DRAWS)
    rows = [
        {"start": shown(entry["start"]), "length": entry["length"], "stage": stage, **value}
        for entry in found
        for stage, value in entry["share"].items()
    ]
    table = pd.DataFrame(rows)
    lengths = sorted({found[0]["length"], found[-1]["length"]})
    charts = [
        dots(
            table.loc[table["length"] == length],
            "start",
            stages,
            f"First {length} tokens" if length > 1 else "First token",
            "exact probability" if length == lengths[-1] else None,
        )
        for length in lengths
    ]
    return alt.vconcat(*charts, spacing=14)


def shown(text: str) -> str:
    """A text in which line breaks, and spaces alone, can be seen; other spaces keep their place."""
    return text.replace("\n", "⏎").replace(" ", "\u00a0" if text.strip() else "␣")


def dots(table: pd.DataFrame, rows: str, stages: list[str], title: str, axis: str | None, *, zero: bool = True) -> Any:
    """A row a text, a dot a stage with its interval."""
    y = alt.Y(f"{rows}:N", sort=list(dict.fromkeys(table[rows])), title=None,
              axis=alt.Axis(domain=False, ticks=False, labelLimit=150, labelPadding=6))  # fmt: skip
    offset = alt.YOffset("stage:N", sort=stages, scale=alt.Scale(paddingOuter=0.8))
    plain = alt.Chart(table).encode(y=y, yOffset=offset, color=colour(stages, "bottom"))
    scale = alt.Scale(domain=[0, 1]) if zero else alt.Undefined
    where = alt.Axis(tickCount=4, labels=axis is not None)
    rules = plain.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("ci_low:Q", title=axis, scale=scale, axis=where), x2="ci_high:Q"
    )
    points = plain.mark_point(filled=True, size=28, opacity=1).encode(
        x=alt.X("mean:Q", title=axis, scale=scale, axis=where), tooltip=[rows, "stage", *ENDS]
    )
    return alt.layer(rules, points).properties(width=WIDE - 50, height=alt.Step(ROW), title=small(title))


def scatter(table: pd.DataFrame, stages: list[str]) -> Any:
    """Nouns by their surprise and the log-odds of the opening, probabilities at the axis."""
    ticks = {round(float(np.log(p / (1 - p))), 3): f"{p:g}" for p in TICKS}
    low, high = (float(end) for end in np.quantile(table["log_odds"], [0, 1]))
    near = [value for value in ticks if low - 1 < value < high + 1]
    texts = " : ".join(f"abs(datum.value - ({value})) < 0.01 ? '{ticks[value]}'" for value in near) + " : ''"
    x = alt.X("surprise:Q", title="surprise of the noun under the base, nats", scale=alt.Scale(zero=False, nice=False,
              padding=14), axis=alt.Axis(tickCount=5, grid=False))  # fmt: skip
    y = alt.Y("log_odds:Q", title="P(canned opening), log-odds scale", scale=alt.Scale(zero=False, padding=12),
              axis=alt.Axis(values=near, labelExpr=texts))  # fmt: skip
    chart = alt.Chart(table).encode(
        x=x, y=y, color=colour(stages, "bottom"), tooltip=["noun", "stage", "surprise", "log_odds"]
    )
    filled = chart.transform_filter("!datum.held_out").mark_point(filled=True, size=24, opacity=0.75)
    hollow = chart.transform_filter("datum.held_out").mark_point(filled=False, size=22, opacity=0.9, strokeWidth=1.1)
    text = alt.Chart(labels(table, stages)).encode(x=x, y=y, text="noun:N")
    words = [
        text.mark_text(align="left", dx=5, fontSize=9, color=PAPER, stroke=PAPER, strokeWidth=3),
        text.mark_text(align="left", dx=5, fontSize=9, color=LINE),
    ]
    title = small("A dot a noun; hollow: held out")
    return alt.layer(filled, hollow, *words).properties(width=HIGH, height=HIGH, title=title)


def labels(table: pd.DataFrame, stages: list[str]) -> pd.DataFrame:
    """The nouns that are named where their words do not meet: the least canned of tuned stages, and the post's."""
    chosen = [table.loc[table["stage"] == stage].sort_values("log_odds").head(NAMED) for stage in stages[1:]]
    last = table.loc[(table["stage"] == stages[-1]) & table["noun"].isin(POST)]
    named = pd.concat([*chosen, last]).drop_duplicates(subset=["stage", "noun"])
    spans = table[["surprise", "log_odds"]].max() - table[["surprise", "log_odds"]].min()
    kept: list[tuple[float, float]] = []
    rows = []
    for number, (x, y) in enumerate((named[["surprise", "log_odds"]] / spans.replace(0, 1)).to_numpy().tolist()):
        if all(abs(x - left) > ROOM[0] or abs(y - up) > ROOM[1] for left, up in kept):
            kept.append((x, y))
            rows.append(number)
    return named.iloc[rows]


def slopes(dataset: xr.Dataset, stages: list[str]) -> Any:
    """What one standard deviation of surprise does to the log-odds of the opening, by side and stage."""
    asked = [pair for pair in ASKED if pair[1] == "opening_log_odds"]
    table = pd.DataFrame(
        [
            {"prompts": entry["prompts"], "stage": entry["stage"], **entry["noun"]["slope"]}
            for entry in improbability(dataset, DRAWS, asked)
        ]
    )
    width = spread(dataset)
    axis = "log-odds of the opening for one s.d. of surprise"
    zero = alt.Chart(pd.DataFrame({"mean": [0.0]})).mark_rule(strokeDash=[3, 3], color=MUTED).encode(x="mean:Q")
    flat = ": too alike to tell" if width < FLAT else ""
    title = f"Slope on surprise (s.d. {width:.2g} nats{flat})"
    chart = alt.layer(zero, dots(table, "prompts", stages, title, axis, zero=False))
    return chart.properties(width=HIGH, height=alt.Step(ROW + 2), title=small(title))
