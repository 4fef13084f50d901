"""What the report draws of each analysis: chart specifications, rows and components, and what its text needs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.run import Run
from mcinterp.show import circuits, figures, locate_figures, patch_figures
from mcinterp.show.attribution_figures import DRAWN
from mcinterp.show.behaviour import gallery as behaviour_gallery
from mcinterp.show.report import explorer
from mcinterp.summary import behaviour as summaries

VERIFIED = "locate-verification"
ATTENTION_CELLS = 300_000
HELD_EXAMPLES = 8


class Made(NamedTuple):
    """Charts by name, other data that the page's script draws, and what the templates need."""

    charts: dict[str, Any]
    drawn: dict[str, Any]
    context: dict[str, Any]


def lens_data(run: Run, summary: dict[str, Any]) -> Made:
    """Entropies by depth and position, and the prompts to look at: lens cells, tokens, attention."""
    lens = run.load("lens")
    names = lens["lens"].values.tolist()
    charts = {f"depth-{name}": figures.entropy_by_depth(lens, lens_name=name) for name in names}
    charts["position"] = figures.entropy_by_position(lens)
    prompts = explorer.explored(lens)
    data = {
        "grid": figures.lens_grid_chart(lens, alt.NamedData("cells")).to_dict(),
        "prompts": explorer.packed_prompts(lens, prompts),
        "attention": attention_components(run.load("attention")) if run.holds("attention") else {},
    }
    explored = [(index, summary["prompts"][index]) for index in prompts]
    context = {"lenses": names, "written_by": provenance_of(lens)["completions"], "explored": explored}
    return Made({name: chart.to_dict() for name, chart in charts.items()}, data, context)


def patch_data(run: Run, summary: dict[str, Any]) -> Made:
    """Effects by layer or over heads and positions, and the interaction."""
    charts = {f"patch-{name}": chart.to_dict() for name, chart in patch_figures.pictures(run.load("patch")).items()}
    return Made(charts, {}, {"patch_charts": list(charts)})


def locate_data(run: Run, summary: dict[str, Any]) -> Made:
    """The ranking, the evidence, how sites act, and what undoing brings back."""
    charts = {f"locate-{name}": chart.to_dict() for name, chart in locate_figures.pictures(run).items()}
    verified = [name for name in charts if name == VERIFIED]
    return Made(
        charts, {}, {"locate_charts": [n for n in charts if n not in verified], "verification_charts": verified}
    )


def behaviour_data(run: Run, summary: dict[str, Any]) -> Made:
    """The picture of every experiment, and its headline."""
    charts = behaviour_gallery.pictures(run)
    drawn = {f"behaviour-{name}": chart.to_dict() for name, chart in charts.items()}
    said = {name: blocks(summaries.of(name).headline(summary["behaviour"][name])) for name in charts}
    return Made(drawn, {}, {"behaviour_said": said})


def blocks(headline: str) -> list[dict[str, Any]]:
    """A headline as paragraphs (`text`) and tables (`rows` of cells, the first of names)."""
    found: list[dict[str, Any]] = []
    for line in filter(None, map(str.strip, headline.splitlines())):
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            found.append({"text": line})
        elif not found or "rows" not in found[-1]:
            found.append({"rows": [cells]})
        elif not all(set(cell) <= set("-: ") and cell for cell in cells):
            found[-1]["rows"].append(cells)
    return found


def attribution_data(run: Run, summary: dict[str, Any]) -> Made:
    """A chart for every attribution that was made."""
    made = {name: draw for name, draw in DRAWN.items() if run.holds(name)}
    charts = {f"attribution-{name}": draw(run.load(name)).to_dict() for name, draw in made.items()}
    return Made(charts, {}, {"attribution_charts": list(charts)})


def held_data(run: Run, summary: dict[str, Any]) -> Made:
    """How many trajectories leave under each patch, and what some of them wrote."""
    held = run.load("held")
    charts = {"held-leaves": patch_figures.held_leaves(held).to_dict()}
    return Made(charts, {}, {"held_charts": list(charts), "held_examples": held_examples(held, summary["held"])})


def held_examples(held: xr.Dataset, summary: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By direction, what was written under the patch that most trajectories leave at, beside the unpatched text."""
    examples = {}
    for direction, one in summary.items():
        best = max(one["cells"], key=lambda cell: cell["leaves"])
        cell = {axis: best[axis] for axis in ("site", "layer", "head") if axis in best}
        first = held.sel(direction=direction).isel(sample=0)
        patched, clean = first["completion"].sel(cell).values, first["completion_recipient"].values
        examples[direction] = [
            {"text": str(text), "unpatched": str(before), "patched": str(after), **cell}
            for text, before, after in zip(held["text"].values, clean, patched, strict=True)
        ][:HELD_EXAMPLES]
    return examples


def attention_components(attention: xr.Dataset) -> dict[str, Any]:
    """Attention of base and tuned side by side, and the difference, by prompt, in the layers that differ most."""
    components: dict[str, Any] = {}
    for prompt in attention["prompt"].values.tolist():
        layers = differing_layers(attention.sel(prompt=prompt))
        components[str(prompt)] = {
            str(layer): circuits.attention_compared(attention, prompt, layer) for layer in layers
        }
    return components


def differing_layers(attention: xr.Dataset) -> Sequence[int]:
    """Layers whose patterns differ most between base and tuned (mean total variation), few enough for a page."""
    pattern = attention["attention"]
    gap = (abs(pattern.isel(stage=-1) - pattern.isel(stage=0)).sum("key") / 2).mean(["query", "head"])
    cells = int(pattern.sizes["head"] * int(attention["n_tokens"]) ** 2 * 3)
    affordable = max(1, ATTENTION_CELLS // cells)
    order = np.argsort(-gap.values, kind="stable")[:affordable]
    return sorted(gap["layer"].values[order].tolist())
