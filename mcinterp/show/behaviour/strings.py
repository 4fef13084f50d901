"""The picture of attractor strings: how many samples hold the modal string, which it is, and form and endings."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.behaviour.strings.calibration import PARTS
from mcinterp.show.behaviour.panels import colour
from mcinterp.show.theme import MUTED, stage_colours, themed
from mcinterp.statistics import ENDS
from mcinterp.summary.behaviour.strings import of_calibration, summary

CURVE, HEIGHT, LINE, DRAWS, COLUMNS, GAP, VERSE = 165, 90, 6, 300, 4, 14, 3.0
DOTS = {
    "uplifting": "texts that end well (share)",
    "calibration_error": "calibration error (ECE)",
}
FORMS = {"in_fours": "texts in stanzas of four lines (share)", "rhymed_share": "lines that rhyme (share)"}


def picture(dataset: xr.Dataset) -> Any:
    """The modal string of every task and stage, the samples that hold it by its words, form, endings, calibration.

    Bands and rules are 95 % intervals over templates (none where a task has one template); dashed lines the same words
    shuffled. Form (of tasks in which the base writes three lines or more) and endings are of texts that ended. The
    curve at last is the accuracy of the most likely token by how sure the stage is of it.
    """
    found = summary(dataset, draws=DRAWS)
    entries = [entry for entry in found["cells"] if entry["prompts"] == "all"]
    stages, tasks = found["stages"], dataset["task"].values.tolist()
    tables = curves(entries, tasks, dataset["length"].values.tolist())
    panels = [shares(tables, task, stages, first=number % COLUMNS == 0) for number, task in enumerate(tasks)]
    rows = [alt.hconcat(*panels[start : start + COLUMNS], spacing=GAP) for start in range(0, len(panels), COLUMNS)]
    title = f"What is written whatever the input ({found['n_samples']} samples of {found['n_prompts']} prompts)"
    charts = [
        dots(entries, name, DOTS[name], stages, first=number == 0)
        for number, name in enumerate(name for name in DOTS if name in entries[0]["levels"])
    ]
    verse = in_lines(entries, stages[0])
    if verse:
        charts.append(alt.vconcat(*(dots(verse, name, FORMS[name], stages, first=True) for name in FORMS), spacing=GAP))
    if PARTS[0] in dataset:
        charts.append(reliability(dataset, stages))
    parts = [written(entries, stages, tasks), *rows, alt.hconcat(*charts, spacing=2 * GAP)]
    return themed(alt.vconcat(*parts, spacing=16).properties(title=title))


def in_lines(entries: list[dict[str, Any]], base: str) -> list[dict[str, Any]]:
    """The tasks in which the base writes several lines; there the form says something."""
    several = {e["genre"] for e in entries if e["stage"] == base and e["levels"]["n_lines"]["mean"] >= VERSE} - {"all"}
    return [entry for entry in entries if entry["genre"] in several]


def curves(entries: list[dict[str, Any]], tasks: list[str], lengths: list[int]) -> pd.DataFrame:
    """One row a task, stage and number of words: the share with its interval, and chance."""
    return pd.DataFrame(
        [
            {"task": task_of(entry, tasks), "stage": entry["stage"], "words": length,
             "chance": entry["levels"][f"modal_share_by_chance_{length}"]["mean"],
             **entry["levels"][f"modal_share_{length}"]}
            for entry in entries for length in lengths if task_of(entry, tasks)
        ]
    )  # fmt: skip


def task_of(entry: dict[str, Any], tasks: list[str]) -> str:
    """The task that an entry is of; empty for all of several tasks together."""
    return entry["genre"] if len(tasks) > 1 and entry["genre"] != "all" else tasks[0] if len(tasks) == 1 else ""


def shares(table: pd.DataFrame, task: str, stages: list[str], *, first: bool) -> Any:
    """Shares of one task by number of words; chance dashed."""
    x = alt.X("words:Q", title="words", axis=alt.Axis(tickMinStep=1, grid=False), scale=alt.Scale(nice=False))
    title = "samples that hold it" if first else None
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(domain=[0.0, 1.0]), axis=alt.Axis(labels=first, tickCount=3))
    chart = alt.Chart(table[table["task"] == task]).encode(x=x, color=colour(stages))
    band = chart.mark_area(opacity=0.13).encode(y=alt.Y("ci_low:Q", title=title), y2="ci_high:Q")
    line = chart.mark_line(strokeWidth=2).encode(y=y, tooltip=["stage", "words", *ENDS, "chance"])
    chance = chart.mark_line(strokeWidth=1, strokeDash=[3, 3]).encode(y=alt.Y("chance:Q", title=title))
    heading = alt.TitleParams(task, fontSize=11, fontWeight="normal")
    return alt.layer(band, chance, line).properties(width=CURVE, height=HEIGHT, title=heading)


def written(entries: list[dict[str, Any]], stages: list[str], tasks: list[str]) -> Any:
    """The most telling modal string of every task and stage: the share of samples with it, and beyond the base's."""
    table = pd.DataFrame(
        [
            {"task": task_of(entry, tasks), "stage": entry["stage"],
             "string": shown(entry, stages[0])}
            for entry in entries if task_of(entry, tasks) and entry.get("string")
        ]
    )  # fmt: skip
    width, colours = (COLUMNS * (CURVE + GAP) - GAP) / len(stages), stage_colours(stages)
    columns = [
        alt.Chart(table[table["stage"] == stage], title=alt.TitleParams(stage, fontSize=12, color=colours[stage]))
        .mark_text(align="left", fontSize=9, limit=width - 4)
        .encode(
            x=alt.value(0),
            y=alt.Y("task:N", sort=tasks, title=None,
                    axis=alt.Axis(domain=False, ticks=False, labels=number == 0, labelPadding=8, grid=False)),
            text="string:N",
            color=colour(stages),
        )
        .properties(width=width, height=alt.Step(15))
        for number, stage in enumerate(stages)
    ]  # fmt: skip
    return alt.hconcat(*columns, spacing=6)


def shown(entry: dict[str, Any], base: str) -> str:
    """A modal string with its share, and of a later stage what that is beyond the base's."""
    beyond = "" if entry["stage"] == base else f" {entry['string_excess']:+.2f}"
    return f"{entry['string_share']:.2f}{beyond}  {entry['string']}"


def dots(entries: list[dict[str, Any]], name: str, title: str, stages: list[str], *, first: bool) -> Any:
    """One measure, one line a task, stages beside one another."""
    table = pd.DataFrame([{"task": e["genre"], "stage": e["stage"], **e["levels"][name]} for e in entries])
    order = list(dict.fromkeys(table["task"]))
    y = alt.Y("task:N", sort=order, title=None, axis=alt.Axis(domain=False, ticks=False, labels=first, labelPadding=8))
    plain = alt.Chart(table).encode(y=y, yOffset=alt.YOffset("stage:N", sort=stages), color=colour(stages))
    scale = alt.Scale(domain=[0.0, 1.0]) if name != "calibration_error" else alt.Scale(zero=True)
    axis = alt.Axis(tickCount=3)
    rules = plain.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("ci_low:Q", title=None, scale=scale, axis=axis), x2="ci_high:Q"
    )
    points = plain.mark_point(filled=True, size=24, opacity=1).encode(
        x=alt.X("mean:Q", title=None, scale=scale, axis=axis), tooltip=["task", "stage", *ENDS]
    )
    heading = alt.TitleParams(title, fontSize=11, fontWeight="normal")
    return alt.layer(rules, points).properties(width=CURVE - 10, height=alt.Step(LINE), title=heading)


def calibration_picture(dataset: xr.Dataset) -> Any:
    """In truth how likely the likeliest token is by how sure the stage is of it, and the calibration error (ECE).

    Means over tasks; rules are 95 % intervals over templates. On the dashed line a stage is as right as it is sure.
    """
    stages = dataset["stage"].values.tolist()
    table = error_table(dataset)
    plain = alt.Chart(table).encode(y=alt.Y("stage:N", sort=stages, title=None), color=colour(stages))
    axis, scale = "calibration error (ECE, probability)", alt.Scale(zero=True)
    rules = plain.mark_rule(strokeWidth=1.5).encode(x=alt.X("ci_low:Q", title=axis, scale=scale), x2="ci_high:Q")
    points = plain.mark_point(filled=True, size=50, opacity=1)
    points = points.encode(x=alt.X("mean:Q", title=axis, scale=scale), tooltip=["stage", *ENDS])
    errors = alt.layer(rules, points).properties(width=CURVE + 30, height=alt.Step(22))
    curve = reliability(dataset, stages, "right").properties(title="Confidence and truth")
    return themed(alt.hconcat(curve, errors, spacing=30).properties(title="Calibration against the grammar"))


def error_table(dataset: xr.Dataset) -> pd.DataFrame:
    """The calibration error of every stage with its interval."""
    found = of_calibration(dataset, dataset["template"].values.tolist(), DRAWS)["calibration_error"]
    return pd.DataFrame([{"stage": s, **found.at(0, n)} for n, s in enumerate(dataset["stage"].values.tolist())])


def reliability(dataset: xr.Dataset, stages: list[str], orient: Any = None) -> Any:
    """Accuracy by confidence of every stage, mean over tasks; bins with next to no tokens are left out."""
    tokens, confidence, accuracy = (dataset[name].groupby(dataset["genre"]).mean().mean("genre") for name in PARTS)
    found = xr.Dataset({"tokens": tokens, "sure": confidence / tokens, "right": accuracy / tokens})
    table = found.to_dataframe().reset_index().query("tokens > 0.0005")
    ideal = pd.DataFrame({"sure": [0.0, 1.0], "right": [0.0, 1.0]})
    x = alt.X("sure:Q", title="probability of the likeliest token", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("right:Q", title="in truth", scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(ideal).mark_line(color=MUTED, strokeDash=[3, 3], strokeWidth=1).encode(x=x, y=y)
    chart = alt.Chart(table).encode(x=x, y=y, color=colour(stages, orient))
    heading = alt.TitleParams("calibration", fontSize=11, fontWeight="normal")
    marks = (chart.mark_line(strokeWidth=1.2), chart.mark_point(filled=True, size=26, opacity=1))
    return alt.layer(line, *marks).properties(width=CURVE, height=CURVE, title=heading)
