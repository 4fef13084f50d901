"""The picture of whether a change is a temperature: curves, exponents by scope, whole texts, and the mode removed."""

from collections.abc import Callable
from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.show.behaviour.panels import colour
from mcinterp.show.theme import LINE, MUTED, themed
from mcinterp.statistics import ENDS
from mcinterp.summary.behaviour.temperature_curves import summary

DRAWS, WIDTH, HEIGHT = 300, 235, 190
TICKS = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
NLL = "NLL under the base (nats a token, log scale)"


def picture(dataset: xr.Dataset, genre: str = "all") -> Any:
    """The parts that the dataset has, over all prompts or those of a genre.

    Above: share of different texts, and entropy, against the NLL of the samples under the base, one point a temperature
    (written beside the base's), and the share that is grammatical. Below: the share of KL(stage || base) that one
    exponent explains, by scope; the regression's slopes beside the lines of tempered tokens and of tempered texts; what
    one token drawn without the mode costs. Rules are 95 % intervals over templates; every stage keeps its colour.
    """
    found, stages = summary(dataset, draws=DRAWS), dataset["stage"].values.tolist()
    stages = stages if "curves" in found or "mode" in found else ["", *stages]
    above, below = [], []
    if "curves" in found:
        curves = [entry for entry in found["curves"] if entry["genre"] == genre]
        above = [curve(curves, stages, "distinct", "share of different texts", [0.0, 1.08])]
        above.append(curve(curves, stages, "sampled_entropy", "entropy (nats a token)", None))
        if any(entry["grammatical_share"]["mean"] >= 0 for entry in curves):
            above.append(grammatical(curves, stages))
    legend = None if above else "right"
    if "scopes" in found:
        below.append(scopes([entry for entry in found["scopes"] if entry["genre"] == genre], stages, legend))
    if "sequence" in found:
        below.append(slopes([entry for entry in found["sequence"] if entry["genre"] == genre], stages))
    if "mode" in found:
        below.append(removed(found["mode"], stages, legend))
    rows = [alt.hconcat(*row, spacing=24).resolve_scale(color="independent") for row in (above, below) if row]
    return themed(alt.vconcat(*rows, spacing=26).resolve_scale(color="independent"))


def flat(entry: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """An entry's labels, and the ends of some of its figures under other names."""
    labels = {key: value for key, value in entry.items() if not isinstance(value, dict)}
    return labels | {f"{short}_{end}": entry[name][end] for name, short in names.items() for end in ENDS}


def curve(entries: list[dict[str, Any]], stages: list[str], name: str, title: str, domain: list[float] | None) -> Any:
    """Diversity against validity, one line a stage over its temperatures."""
    table = pd.DataFrame([flat(entry, {"base_nll": "x", name: "y"}) for entry in entries])
    low, high = min(table["x_mean"].tolist()), max(table["x_mean"].tolist())
    scale = alt.Scale(type="log", domain=[low / 1.15, high * 1.25], nice=False)
    x = alt.X("x_mean:Q", title=NLL, scale=scale, axis=alt.Axis(values=TICKS))
    y = alt.Y("y_mean:Q", title=title, scale=alt.Scale(domain=domain) if domain else alt.Scale(zero=True))
    chart = alt.Chart(table).encode(color=colour(stages, "bottom-right" if name == "distinct" else None))
    line = chart.mark_line(strokeWidth=1.5, opacity=0.8).encode(x=x, y=y, order="temperature:Q")
    rules = chart.mark_rule(strokeWidth=1, opacity=0.6).encode(
        x=x, y=alt.Y("y_ci_low:Q", title=title), y2="y_ci_high:Q"
    )
    tooltip = ["stage", "temperature", alt.Tooltip("x_mean:Q", format=".2f"), alt.Tooltip("y_mean:Q", format=".2f")]
    points = chart.mark_point(filled=True, size=34, opacity=1).encode(x=x, y=y, tooltip=tooltip)
    hot = table[(table["stage"] == stages[0]) & (table["temperature"] >= 1)]
    words = alt.Chart(hot).mark_text(dy=-9, fontSize=9, color=LINE)
    named = words.encode(x=x, y=y, text=alt.Text("temperature:Q", format=".1f"))
    what = {"distinct": "Different texts", "sampled_entropy": "Entropy"}[name]
    return alt.layer(rules, line, points, named).properties(
        width=WIDTH, height=HEIGHT, title=f"{what} against validity, by temperature"
    )


def grammatical(entries: list[dict[str, Any]], stages: list[str]) -> Any:
    """The grammatical share of the samples over temperature."""
    table = pd.DataFrame([flat(entry, {"grammatical_share": "y"}) for entry in entries])
    chart = alt.Chart(table).encode(x=alt.X("temperature:Q", title="temperature"), color=colour(stages))
    title = "share of grammatical samples"
    y = alt.Y("y_mean:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    band = chart.mark_area(opacity=0.12).encode(y=alt.Y("y_ci_low:Q", title=title), y2="y_ci_high:Q")
    return alt.layer(band, chart.mark_line(point=True).encode(y=y)).properties(
        width=WIDTH, height=HEIGHT, title="Validity, by the grammar"
    )


def scopes(entries: list[dict[str, Any]], stages: list[str], orient: Any = None) -> Any:
    """The share of KL(stage || base) that one exponent explains: for all prompts, a prompt, a token."""
    table = pd.DataFrame([flat(entry, {"share": "y"}) for entry in entries])
    table["line"] = table["scope"] + ", along " + table["written_by"]
    order = [f"{scope}, along {by}" for by in ("base", "stage") for scope in ("global", "prompt", "token")]
    chart = alt.Chart(table).encode(
        y=alt.Y("line:N", sort=order, title=None, axis=alt.Axis(domain=False, ticks=False, labelPadding=8)),
        yOffset=alt.YOffset("stage:N", sort=stages, scale=alt.Scale(paddingOuter=0.6)),
        color=colour(stages, orient),
    )
    title = "share of KL(stage || base) explained"
    scale = alt.Scale(domain=[0, 1], clamp=True)
    rules = chart.mark_rule(strokeWidth=1.5).encode(x=alt.X("y_ci_low:Q", title=title, scale=scale), x2="y_ci_high:Q")
    points = chart.mark_point(filled=True, size=34, opacity=1).encode(x=alt.X("y_mean:Q", title=title, scale=scale))
    return alt.layer(rules, points).properties(width=WIDTH - 70, height=HEIGHT, title="One exponent, by scope")


def slopes(entries: list[dict[str, Any]], stages: list[str]) -> Any:
    """The slope of the future's entropy against that of log p, with what either kind of tempering predicts."""
    table = pd.DataFrame([flat(entry, {"slope_log_prob": "x", "slope_future": "y", "r2": "r2"}) for entry in entries])
    table["label"] = [f"{stage}: R² {value:.2f}" for stage, value in zip(table["stage"], table["r2_mean"], strict=True)]
    left, right = min(0.0, *table["x_ci_low"].tolist()), max(2.0, *table["x_ci_high"].tolist())
    of_log_p, of_future = "slope of the base's log p", "slope of the future's entropy"
    x = alt.X("x_mean:Q", title=of_log_p, scale=alt.Scale(domain=[left, right], nice=False))
    y = alt.Y("y_mean:Q", title=of_future)
    chart = alt.Chart(table).encode(color=colour(stages))
    across = chart.mark_rule(strokeWidth=1.5).encode(x=alt.X("x_ci_low:Q", title=of_log_p), x2="x_ci_high:Q", y=y)
    along = chart.mark_rule(strokeWidth=1.5).encode(x=x, y=alt.Y("y_ci_low:Q", title=of_future), y2="y_ci_high:Q")
    points = chart.mark_point(filled=True, size=44, opacity=1).encode(x=x, y=y)
    table["row"] = [14 * n + 8 for n in range(len(table))]
    words = (
        alt.Chart(table)
        .mark_text(align="right", fontSize=10)
        .encode(x=alt.value(WIDTH - 4), y=alt.Y("row:Q", scale=None, axis=None), text="label:N", color=colour(stages))
    )
    plot = alt.layer(*predictions(left, right), across, along, points)
    return (
        alt.layer(plot, words)
        .resolve_scale(y="independent")
        .properties(width=WIDTH, height=HEIGHT, title="Tempered tokens or texts?")
    )


def predictions(left: float, right: float) -> list[Any]:
    """The lines on which tempered tokens and tempered texts lie, with their names."""
    ends = pd.DataFrame(
        [{"kind": kind, "x": x, "y": y} for kind, f in KINDS.items() for x, y in ((left, f(left)), (right, f(right)))]
    )
    line = alt.Chart(ends).mark_line(strokeDash=[4, 3], color=MUTED, strokeWidth=1)
    lines = line.encode(x="x:Q", y="y:Q", detail="kind:N")
    named = alt.Chart(ends[ends["x"] == right]).mark_text(align="right", dy=-6, fontSize=9, color=LINE)
    return [lines, named.encode(x="x:Q", y="y:Q", text="kind:N")]


KINDS: dict[str, Callable[[float], float]] = {"tokens": lambda x: 0.0, "texts": lambda x: 1.0 - x}


def removed(entries: list[dict[str, Any]], stages: list[str], orient: Any = None) -> Any:
    """What one token costs that is drawn without the mode, by what the mode would have been."""
    kept = [entry for entry in entries if entry["removal"] in ("none", "mode")]
    table = pd.DataFrame([flat(entry, {"once_nll": "y"}) for entry in kept])
    places = list(dict.fromkeys(entry["place"] for entry in entries))
    table["line"] = table["place"].astype(str) + table["removal"].map(
        lambda name: "" if name == "none" else ", mode removed"
    )
    order = [f"{place}{how}" for how in ("", ", mode removed") for place in places]
    chart = alt.Chart(table).encode(
        y=alt.Y(
            "line:N", sort=order, title=None, axis=alt.Axis(domain=False, ticks=False, labelLimit=200, labelPadding=8)
        ),
        yOffset=alt.YOffset("stage:N", sort=stages, scale=alt.Scale(paddingOuter=0.6)),
        color=colour(stages, orient),
    )
    title = "NLL of the next token under the base (nats)"
    rules = chart.mark_rule(strokeWidth=1.5).encode(x=alt.X("y_ci_low:Q", title=title), x2="y_ci_high:Q")
    points = chart.mark_point(filled=True, size=34, opacity=1).encode(x=alt.X("y_mean:Q", title=title))
    return alt.layer(rules, points).properties(width=WIDTH - 90, height=HEIGHT, title="The mode removed")
