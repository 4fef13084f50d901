"""The picture of random draws: the distribution over 0 to 100 by frame and stage, entropies, and repetitions."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.behaviour.randomness.support import FRAMES, short_name
from mcinterp.show.theme import LINE, PAPER, stage_scale, themed
from mcinterp.summary.behaviour.randomness import cells, earlier_entries, summary

NUMBERS = "0-100"
LEAST = 1e-4
ENDS = ("mean", "low", "high")
NAMED_FROM = 0.05
DRAWS = 300
WIDE, FLAT, ROW = 165, 58, 7
LEGEND = alt.Legend(title=None, orient="bottom", symbolOpacity=1, symbolSize=70)


def picture(dataset: xr.Dataset) -> Any:
    """Every stage's distribution over the numbers by frame (log scale), H / log N by question, and repetitions.

    The grid shows means over the prompts of a frame, given that the answer is a number; the dashed line is uniform.
    A hollow dot is a stage that mostly answers with no value at all: the shares of the values say little about it.
    Without questions for 0 to 100 the grid is left out, and without earlier draws the repetitions are.
    """
    found = summary(dataset, draws=DRAWS)
    stages = dataset["stage"].values.tolist()
    whole = [cell for cell in found["cells"] if cell["prompts"] == "all"]
    parts = [
        dots(
            table_of(whole, "entropy_share"),
            stages,
            "Entropy over a fair draw's",
            "H / log N",
            260,
            fair=1.0,
            legend=LEGEND,
        ),
        dots(
            table_of(whole, "paraphrase_total_variation"),
            stages,
            "Between wordings",
            "total variation",
            150,
            named=False,
        ),
    ]
    if found["earlier"]:
        first = [cell for cell in found["earlier"] if cell["earlier"] == 1]
        title, axis = "The last value drawn again", "P(repeat) / chance"
        parts.append(dots(table_of(first, "repeat_share", by_chance=True), stages, title, axis, 190, fair=1.0))
    below = alt.hconcat(*parts, spacing=22).resolve_scale(color="independent")
    numbers = number_table(dataset)
    if numbers is None:
        return themed(below)
    whole_picture = alt.vconcat(number_grid(numbers, stages), below, spacing=24)
    return themed(whole_picture.resolve_scale(color="independent"))


def earlier_picture(dataset: xr.Dataset) -> Any:
    """How often the last value is drawn again, over chance, and the entropy over a fair draw's, behind earlier draws.

    Means over prompts and contexts with 95 % intervals over templates, behind one earlier draw; dashed, a fair draw.
    """
    stages = dataset["stage"].values.tolist()
    whole = [cell for cell in cells(dataset) if cell.attrs["side"] == "all"]
    found = [entry for cell in whole for entry in earlier_entries(cell, DRAWS) if entry["earlier"] == 1]
    again, spread = table_of(found, "repeat_share", by_chance=True), table_of(found, "next_entropy_share")
    legend = alt.Legend(**{**LEGEND.to_dict(), "orient": "right"})
    parts = [
        dots(again, stages, "The last value drawn again", "P(repeat) / chance", 220, fair=1.0),
        dots(spread, stages, "Entropy over a fair draw's", "H / log N", 220, fair=1.0, named=False, legend=legend),
    ]
    return themed(alt.hconcat(*parts, spacing=22).resolve_scale(color="independent"))


def number_table(dataset: xr.Dataset) -> pd.DataFrame | None:
    """Mean share of every number by stage and frame, or nothing where no prompt asks for 0 to 100."""
    asked = dataset["value_share"].sel(prompt=dataset["support"] == NUMBERS)
    if not asked.sizes["prompt"]:
        return None
    mean = asked.sel(value=[str(number) for number in range(101)]).groupby("frame").mean()
    table = mean.to_dataframe("share").reset_index()
    return table.assign(number=table["value"].astype(int), shown=table["share"].clip(lower=LEAST))


def number_grid(table: pd.DataFrame, stages: list[str]) -> Any:
    """Shares of the numbers from 0 to 100: a row a stage, a column a frame."""
    frames = sorted(set(table["frame"]), key=place)
    columns = [
        alt.vconcat(
            *(number_panel(table, stage, frame, stages, frame == frames[0]) for stage in stages),
            spacing=7,
            bounds="flush",
        )
        for frame in frames
    ]
    title = "Share of each number from 0 to 100, by frame (mean over prompts; dashed: uniform)"
    return alt.hconcat(*columns, spacing=10).properties(title=title)


def place(frame: str) -> int:
    """Where a frame stands among the known ones; others come last."""
    return FRAMES.index(frame) if frame in FRAMES else len(FRAMES)


def number_panel(table: pd.DataFrame, stage: str, frame: str, stages: list[str], first: bool) -> Any:
    """One stage's distribution in one frame, the favourite named where it stands out."""
    here = table[(table["stage"] == stage) & (table["frame"] == frame)].assign(least=LEAST, uniform=1 / 101)
    last = stage == stages[-1]
    x = alt.X(
        "number:Q",
        title="number" if last else None,
        scale=alt.Scale(domain=[-1, 101], nice=False),
        axis=alt.Axis(values=[0, 25, 50, 75, 100], grid=False, labels=last, ticks=last),
    )
    y = alt.Y(
        "shown:Q",
        title=stage if first else None,
        scale=alt.Scale(type="log", domain=[LEAST, 1]),
        axis=alt.Axis(
            values=[1e-3, 1e-2, 1e-1], labels=first, format="~g",
            titleFontWeight=600, titleAngle=0, titleAlign="right", titleX=-48, titleY=FLAT / 2,
        ),
    )  # fmt: skip
    colour = alt.Color("stage:N", scale=stage_scale(stages), legend=None)
    tooltip = ["stage", "frame", "number", alt.Tooltip("share:Q", format=".4f")]
    bars = alt.Chart(here).mark_bar(size=1.35).encode(x=x, y=y, y2="least:Q", color=colour, tooltip=tooltip)
    flat = alt.Chart(here).mark_rule(color=LINE, strokeDash=[3, 3], strokeWidth=0.7).encode(y="mean(uniform):Q")
    drawn = alt.layer(bars, flat, *favourite(here, x)).properties(width=WIDE, height=FLAT)
    head = alt.Title(frame, anchor="middle", frame="group", fontWeight="normal")
    return drawn.properties(title=head) if stage == stages[0] else drawn


def favourite(here: pd.DataFrame, x: alt.X) -> list[Any]:
    """The most likely number and its share beside its bar; nothing where none stands out."""
    best = here.nlargest(1, "share")
    if float(best["share"].iloc[0]) < NAMED_FROM:
        return []
    best = best.assign(word=[f"{best['number'].iloc[0]} ({best['share'].iloc[0]:.0%})"])
    side = ("right", -4) if best["number"].iloc[0] > 50 else ("left", 4)
    text = alt.Chart(best).mark_text(align=side[0], dx=side[1], fontSize=10, color=LINE)
    return [text.encode(x=x, y=alt.value(5), text="word:N")]


def table_of(cells: list[dict[str, Any]], name: str, *, by_chance: bool = False) -> pd.DataFrame:
    """One measure of every question and stage with its interval, questions of one support together.

    `by_chance` divides by the chance of a repetition.
    """
    supports = list(dict.fromkeys(cell["support"] for cell in cells))
    order = sorted(cells, key=lambda cell: (supports.index(cell["support"]), place(cell["frame"])))
    rows = []
    for cell in order:
        scale = 1 / cell["chance"] if by_chance else 1.0
        ends = {key: cell[name][end] * scale for key, end in zip(ENDS, ("mean", "ci_low", "ci_high"), strict=True)}
        question = f"{short_name(cell['support'])}, {cell['frame']}"
        mostly_else = "off_support" in cell and cell["off_support"]["mean"] > 0.5
        rows.append({"question": question, "stage": cell["stage"], "hollow": mostly_else, **ends})
    return pd.DataFrame(rows)


def dots(
    table: pd.DataFrame,
    stages: list[str],
    title: str,
    axis: str,
    width: int,
    *,
    fair: float | None = None,
    named: bool = True,
    legend: alt.Legend | None = None,
) -> Any:
    """A dot a question and stage with its 95 % interval over templates; the dashed line is a fair draw."""
    questions = list(dict.fromkeys(table["question"]))
    rows = alt.Axis(grid=True, labelLimit=220, tickBand="extent", labelExpr=alt.Undefined if named else "' '")
    plain = alt.Chart(table.assign(fair=fair)).encode(
        y=alt.Y("question:N", sort=questions, title=None, axis=rows),
        yOffset=alt.YOffset("stage:N", sort=stages),
        color=alt.Color("stage:N", scale=stage_scale(stages), sort=stages, legend=legend),
    )
    tooltip = ["question", "stage", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ENDS)]
    x = alt.X("mean:Q", title=axis, scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=5))
    spread = plain.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=axis), x2="high:Q")
    points = plain.mark_point(filled=True, opacity=1, size=30).encode(x=x, tooltip=tooltip)
    holes = points.transform_filter("datum.hollow").mark_point(filled=True, opacity=1, size=9)
    holes = holes.encode(color=alt.value(PAPER))
    line = alt.Chart(table.assign(fair=fair)).mark_rule(color=LINE, strokeDash=[3, 3], strokeWidth=0.7)
    ideal = [] if fair is None else [line.encode(x="mean(fair):Q")]
    return alt.layer(*ideal, spread, points, holes).properties(
        width=width, height=alt.Step(ROW), title=alt.Title(title, frame="group")
    )
