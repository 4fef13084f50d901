"""The picture of disturbed completions: how far they stay from the undisturbed ones, and whether they end the same."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.show.behaviour.panels import colour
from mcinterp.show.theme import MUTED, themed
from mcinterp.statistics import ENDS, bootstrap
from mcinterp.summary.behaviour.perturbation import curves_of, summary

TITLES = {
    "greedy": "greedy",
    "sampled": "sampled at temperature 1",
    "matched": "base, at the stage's entropy",
}
WIDTH, LINE, DRAWS = 205, 6, 300


def picture(dataset: xr.Dataset) -> Any:
    """Distance by tokens behind an edit, the share that ends the same, both by decoding, and the comparison at last.

    Lines and points are means, bands and rules 95 % intervals over templates. Dashed lines and hollow points: no edit,
    written on anew. In the third column the base stands for the stage whose colour it has, at its mean entropy.
    """
    stages = dataset["stage"].values.tolist()
    found = summary(dataset, draws=DRAWS)
    cells = [cell for cell in found["cells"] if cell["prompts"] == "all"]
    order = list(dict.fromkeys(cell["genre"] for cell in cells))
    columns = [
        alt.vconcat(distances(dataset, decoding, stages), same_endings(cells, decoding, stages, order), spacing=14)
        for decoding in TITLES
    ]
    below = alt.hconcat(beyond(cells, stages, order), entropies(cells, stages, order), spacing=24)
    below = below.resolve_scale(color="independent")
    above = alt.hconcat(*columns, spacing=20).resolve_scale(color="independent")
    return themed(alt.vconcat(above, below, spacing=20).resolve_scale(color="independent"))


def distances(dataset: xr.Dataset, decoding: str, stages: list[str]) -> Any:
    """Mean distance of every stage over steps behind the edit, from 1 at the edit itself; behind no edit dashed."""
    tables = [curve_table(dataset, stage, decoding, edited) for stage in stages for edited in (True, False)]
    chart = alt.Chart(pd.concat(tables), title=TITLES[decoding])
    x = alt.X("step:Q", title="tokens behind the edit", scale=alt.Scale(nice=False))
    title = "tokens off the unedited text" if decoding == "greedy" else None
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(domain=[0.0, 1.0]))
    disturbed = chart.transform_filter(alt.datum.edited)
    band = disturbed.mark_area(opacity=0.13).encode(x=x, y=alt.Y("ci_low:Q", title=title), y2="ci_high:Q")
    line = disturbed.mark_line(strokeWidth=2).encode(x=x, y=y)
    unmoved = chart.transform_filter(~alt.datum.edited).mark_line(strokeWidth=1, strokeDash=[3, 3]).encode(x=x, y=y)
    return alt.layer(*(each.encode(color=colour(stages)) for each in (band, unmoved, line))).properties(
        width=WIDTH, height=150
    )


def curve_table(dataset: xr.Dataset, stage: str, decoding: str, edited: bool) -> pd.DataFrame:
    """One curve with its interval."""
    one = dataset.sel(stage=stage, decoding=decoding)
    found = bootstrap(curves_of(one, edited=edited), one["template"].values.tolist(), draws=DRAWS)
    steps = np.concatenate([[0], one["step"].values])
    rows = {end: np.concatenate([[1.0 if edited else 0.0], values]) for end, values in zip(ENDS, found, strict=True)}
    return pd.DataFrame({"stage": stage, "edited": edited, "step": steps, **rows})


def lines(order: list[str], *, labels: bool = True) -> alt.Y:
    """One line a genre."""
    return alt.Y("genre:N", sort=order, title=None, axis=alt.Axis(domain=False, ticks=False, labels=labels))


def dots(
    table: pd.DataFrame,
    stages: list[str],
    y: alt.Y,
    title: str,
    domain: list[float] | None = None,
    *,
    named: bool = False,
) -> Any:
    """Means with intervals, one line a genre, stages beside one another."""
    scale = alt.Scale(domain=domain) if domain else alt.Scale(zero=True)
    offset = alt.YOffset("stage:N", sort=stages, scale=alt.Scale(paddingOuter=0.6))
    plain = alt.Chart(table).encode(y=y, yOffset=offset, color=colour(stages, "right" if named else None))
    rules = plain.mark_rule(strokeWidth=1.5).encode(x=alt.X("ci_low:Q", title=title, scale=scale), x2="ci_high:Q")
    points = plain.mark_point(filled=True, size=30, opacity=1).encode(
        x=alt.X("mean:Q", title=title, scale=scale),
        tooltip=["genre", "stage", *(alt.Tooltip(f"{end}:Q", format=".3f") for end in ENDS)],
    )
    return alt.layer(rules, points).properties(width=WIDTH, height=alt.Step(LINE))


def rows(cells: list[dict[str, Any]], decoding: str, name: str) -> pd.DataFrame:
    """One row a genre and stage of one figure."""
    return pd.DataFrame(
        [
            {"genre": cell["genre"], "stage": cell["stage"], **cell[name]}
            for cell in cells
            if cell["decoding"] == decoding
        ]
    )


def same_endings(cells: list[dict[str, Any]], decoding: str, stages: list[str], order: list[str]) -> Any:
    """The share of disturbed texts that end with the same sentence, and hollow that of undisturbed ones."""
    title, y = "share with the same last sentence", lines(order, labels=decoding == "greedy")
    filled = dots(rows(cells, decoding, "same_ending"), stages, y, title, [0.0, 1.0])
    hollow = (
        alt.Chart(rows(cells, decoding, "unmoved"))
        .mark_point(size=26, strokeWidth=1, opacity=0.9)
        .encode(
            x=alt.X("mean:Q", title=title, scale=alt.Scale(domain=[0.0, 1.0])),
            y=y,
            yOffset=alt.YOffset("stage:N", sort=stages),
            color=colour(stages),
        )
    )
    return alt.layer(hollow, filled).properties(width=WIDTH, height=alt.Step(LINE))


def beyond(cells: list[dict[str, Any]], stages: list[str], order: list[str]) -> Any:
    """What a stage has beyond the base at equal entropy."""
    table = rows(cells, "sampled", "beyond_matched")
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x="zero:Q")
    found = dots(table.query("stage != @stages[0]"), stages, lines(order), "same last sentence, stage minus base")
    return alt.layer(zero, found).properties(
        width=1.4 * WIDTH, height=alt.Step(LINE), title="Beyond the base at the same entropy (sampled)"
    )


def entropies(cells: list[dict[str, Any]], stages: list[str], order: list[str]) -> Any:
    """How sure a stage is while it is away from the unedited text."""
    table = rows(cells, "sampled", "entropy_outside")
    found = dots(table, stages, lines(order, labels=False), "entropy (nats)", named=True)
    return found.properties(
        width=1.4 * WIDTH, height=alt.Step(LINE), title="Entropy while off the unedited text (sampled)"
    )
