"""The report of a run: one HTML file that opens from disk without a network, the scripts in it once."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import numpy as np
import vl_convert
import xarray as xr

from mcinterp.landmarks import most_changed_prompts
from mcinterp.results import VARIABLES, provenance_of, write_text
from mcinterp.run import REPORT, RUN, SUMMARY, Run
from mcinterp.show import circuits, figures

EXPLORED = 8
ATTENTION_CELLS = 300_000


def write_report(run: Run) -> Path:
    """Write `report.html` from the files of a run; analyses that were not made are left out."""
    summary, record = run.read(SUMMARY), run.read(RUN)
    lens, attention = run.load("lens"), run.load("attention") if run.holds("attention") else None
    explored = most_changed_prompts(lens, EXPLORED)
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            record=record,
            headline=headline(summary),
            written_by=provenance_of(lens)["completions"],
            scripts=[circuits.javascript(), vega_javascript()],
            data=embedded(page_data(lens, attention, explored)),
            explored=[(i, summary["prompts"][i]["text"], summary["prompts"][i]["rendering"]) for i in explored],
            lenses=lens["lens"].values.tolist(),
            definitions={name: f"{v.definition} [{v.unit}]" for name, v in VARIABLES.items()},
            run_json=json.dumps({key: value for key, value in record.items() if key != "alignment"}, indent=2),
        )
    )
    return write_text(run.path / REPORT, page)


def headline(summary: dict[str, Any]) -> str:
    """What the run found, in two sentences: entropy along the stages, and the stage that lost most."""
    stages, base = summary["stages"], summary["stages"][0]
    means = ", ".join(f"{summary['entropy'][name]['mean']:.2f} in {name}" for name in stages)
    name, gap = min(summary["entropy_differences"].items(), key=lambda item: item[1]["mean"])
    begin = f"After the prompt the next token has an entropy of {means} (nats, mean of {summary['n_prompts']} prompts)."
    if gap["mean"] >= 0:
        return f"{begin} No stage has less than {base}."
    ends = "" if gap["ci_low"] is None else f" (95 % interval {gap['ci_low']:+.2f} to {gap['ci_high']:+.2f})"
    certain = gap["ci_high"] is not None and gap["ci_high"] < 0
    doubt = "" if certain else ", which these prompts do not tell from nothing"
    return f"{begin} The largest fall from {base} is in {name}, by {gap['mean']:.2f}{ends}{doubt}."


def page_data(lens: xr.Dataset, attention: xr.Dataset | None, explored: Sequence[int]) -> dict[str, Any]:
    """Everything that the page draws: chart specifications, lens cells, circuitsvis components."""
    names = lens["lens"].values.tolist()
    return {
        "charts": {
            **{f"depth-{name}": figures.entropy_by_depth(lens, lens_name=name).to_dict() for name in names},
            "position": figures.entropy_by_position(lens).to_dict(),
        },
        "grid": figures.lens_grid_chart(lens, alt.NamedData("cells")).to_dict(),
        "cells": {f"{i}|{name}": figures.lens_cells(lens, i, name) for i in explored for name in names},
        "tokens": {str(i): circuits.token_probabilities(lens, i) for i in explored},
        "attention": {} if attention is None else attention_components(attention),
        "stages": lens["stage"].values.tolist(),
    }


def attention_components(attention: xr.Dataset) -> dict[str, Any]:
    """Attention of base and tuned by prompt, in the layers where their patterns differ most, as far as space goes."""
    ends = [attention["stage"].values.tolist()[i] for i in (0, -1)]
    components: dict[str, Any] = {}
    for prompt in attention["prompt"].values.tolist():
        layers = differing_layers(attention.sel(prompt=prompt))
        by_layer = {
            str(layer): [circuits.attention_of(attention, prompt, stage, layer) for stage in ends] for layer in layers
        }
        components[str(prompt)] = by_layer
    return components


def differing_layers(attention: xr.Dataset) -> list[int]:
    """Layers whose patterns differ most between base and tuned (mean total variation), few enough for a page."""
    pattern = attention["attention"]
    gap = (abs(pattern.isel(stage=-1) - pattern.isel(stage=0)).sum("key") / 2).mean(["query", "head"])
    cells = int(pattern.sizes["head"] * int(attention["n_tokens"]) ** 2 * 2)
    affordable = max(1, ATTENTION_CELLS // cells)
    order = np.argsort(-gap.values, kind="stable")[:affordable]
    return sorted(gap["layer"].values[order].tolist())


def embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def vega_javascript() -> str:
    """Vega, Vega-Lite and vega-embed as a classic script that sets `vegaEmbed`."""
    return f"(() => {{{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}}})();".replace(
        "</script", "<\\/script"
    )


def environment() -> jinja2.Environment:
    """Templates of the package, escaping whatever is put into them."""
    loader = jinja2.PackageLoader("mcinterp.show", "templates")
    jinja = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    jinja.filters["visible"] = figures.visible
    return jinja
