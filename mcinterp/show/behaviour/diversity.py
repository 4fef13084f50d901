"""The picture of diversity: one small panel a measure, a line a genre, the stages beside one another."""

from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.show.theme import stage_scale, themed
from mcinterp.statistics import ENDS
from mcinterp.summary.behaviour.diversity import summary

PANELS: dict[str, tuple[str, str]] = {
    "distinct_exact": ("Different samples of a prompt", "of {samples}"),
    "vendi_order_1": ("Vendi score of a prompt's samples", "effective number"),
    "ead_per_input": ("Different n-grams per input", "EAD"),
    "self_bleu": ("Self-BLEU of a prompt's samples", "1 is the same text"),
    "branching_factor": ("Branching factor", "tokens, top-p 0.9"),
    "effective_exact": ("Different outputs of a genre", "effective number"),
    "top_coverage_exact": ("Held by the genre's top 25 outputs", "share of samples"),
    "unseen_mass_exact": ("Unseen mass", "probability (Good-Turing)"),
    "ead_across_inputs": ("Different n-grams across inputs", "EAD"),
    "prompt_information": ("What an output says of its prompt", "nats beyond chance"),
    "mauve": ("Likeness to the base's outputs", "MAUVE; 1 is the same"),
    "frechet_distance": ("Distance from the base's outputs", "Fréchet, base's variance 1"),
}
LOGARITHMIC = ("effective_exact",)
DECADES = [1, 10, 100, 1000, 10000]
WIDTH, LINE, COLUMNS, DRAWS = 150, 5, 4, 300


def picture(dataset: xr.Dataset) -> Any:
    """Means and 95 % intervals over templates of every measure, by genre and stage; `all` weighs genres alike.

    The base's own points of likeness and distance are those of two halves of its samples: what equal models would
    give. Genres with one template have no interval.
    """
    found = summary(dataset, draws=DRAWS)
    entries = [entry for entry in found["cells"] if entry["prompts"] == "all"]
    stages, order = found["stages"], list(dict.fromkeys(entry["genre"] for entry in entries))
    charts = [
        panel(entries, name, stages, order, found["n_samples"], named=number % COLUMNS == 0)
        for number, name in enumerate(PANELS)
    ]
    rows = [alt.hconcat(*charts[start : start + COLUMNS], spacing=14) for start in range(0, len(charts), COLUMNS)]
    title = f"{found['n_samples']} samples of each of {found['n_prompts']} prompts at temperature "
    return themed(alt.vconcat(*rows, spacing=16).properties(title=f"Diversity: {title}{found['temperature']:g}"))


def table(entries: list[dict[str, Any]], name: str) -> pd.DataFrame:
    """One row a genre and stage of one measure."""
    return pd.DataFrame(
        [{"genre": entry["genre"], "stage": entry["stage"], **entry["levels"][name]} for entry in entries]
    )


def panel(
    entries: list[dict[str, Any]], name: str, stages: list[str], order: list[str], samples: int, *, named: bool
) -> Any:
    """One measure, one line a genre; the genres are named at the left of a row of panels only."""
    title, unit = PANELS[name]
    scale = alt.Scale(type="log") if name in LOGARITHMIC else alt.Scale(zero=name != "branching_factor")
    axis = alt.Axis(values=DECADES) if name in LOGARITHMIC else alt.Axis(tickCount=4)
    y = alt.Y("genre:N", sort=order, title=None, axis=alt.Axis(domain=False, ticks=False, labels=named, labelPadding=6))
    colour = alt.Color(
        "stage:N", scale=stage_scale(stages), sort=stages,
        legend=alt.Legend(title=None, orient="bottom", symbolOpacity=1, symbolType="circle", symbolSize=80),
    )  # fmt: skip
    offset = alt.YOffset("stage:N", sort=stages, scale=alt.Scale(paddingOuter=0.6))
    plain = alt.Chart(table(entries, name)).encode(y=y, yOffset=offset, color=colour)
    where = alt.X("mean:Q", title=unit.format(samples=samples), scale=scale, axis=axis)
    rules = plain.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("ci_low:Q", title=unit.format(samples=samples), scale=scale, axis=axis), x2="ci_high:Q"
    )
    tooltip = ["genre", "stage", *(alt.Tooltip(f"{end}:Q", format=".3f") for end in ENDS)]
    points = plain.mark_point(filled=True, size=30, opacity=1).encode(x=where, tooltip=tooltip)
    heading = alt.TitleParams(title, fontSize=11, fontWeight="normal")
    return alt.layer(rules, points).properties(width=WIDTH, height=alt.Step(LINE), title=heading)
