"""One visual language: a stage keeps its colour in every picture (Okabe-Ito, safe for colour-blind readers)."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt

BASE, TUNED = "#0072B2", "#D55E00"
INK, LINE, MUTED, FAINT, GRID, PAPER = "#1c1c1e", "#444446", "#8a8a8c", "#c9c9cd", "#e5e5e7", "#ffffff"
DARK = {INK: "#f4f4f6", LINE: "#c6c6ca", MUTED: "#98989c", FAINT: "#57575c", GRID: "#38383c", PAPER: "#18181b"}
REORDERED = "#E69F00"
BETWEEN = ("#009E73", "#CC79A7", REORDERED, "#56B4E9", "#999999")
SITES = (INK, "#009E73", "#CC79A7", REORDERED, "#56B4E9", "#8c6d31", "#999999")
SEQUENTIAL, DIVERGING = "viridis", "blueorange"
FONT = "system-ui, sans-serif"


def stage_colours(stages: Sequence[str]) -> dict[str, str]:
    """The base blue, the last stage vermilion, those between in a fixed order."""
    middle = {name: BETWEEN[i % len(BETWEEN)] for i, name in enumerate(stages[1:-1])}
    return {stages[0]: BASE, **middle, stages[-1]: TUNED}


def stage_scale(stages: Sequence[str]) -> alt.Scale:
    """The same as an Altair colour scale; an empty name stands for a stage that is not shown."""
    colours = {name: colour for name, colour in stage_colours(stages).items() if name}
    return alt.Scale(domain=list(colours), range=list(colours.values()))


def later_scale(stages: Sequence[str]) -> alt.Scale:
    """Colours of the stages behind the base, where the base itself is not shown."""
    return stage_scale(["", *stages])


def themed(chart: Any) -> Any:
    """A chart in the house style."""
    return (
        chart.configure(font=FONT, background=PAPER)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor=GRID, domainColor=MUTED,
            tickColor=MUTED, labelColor=INK, titleColor=INK,
        )
        .configure_title(fontSize=13, anchor="start", fontWeight=600, color=INK, subtitleColor=LINE)
        .configure_header(labelColor=INK, titleColor=INK)
        .configure_text(color=INK)
        .configure_rule(color=LINE)
        .configure_legend(labelFontSize=11, titleFontSize=12, titleFontWeight="normal", labelColor=INK, titleColor=INK)
    )  # fmt: skip


def dark(specification: dict[str, Any]) -> dict[str, Any]:
    """A chart's specification (`chart.to_dict()`) for a dark page: the same picture with inks and paper exchanged.

    What stands on coloured cells keeps its black or white, and stages and sites keep their colours.
    """
    text = json.dumps(specification)
    for light, other in DARK.items():
        text = text.replace(json.dumps(light), json.dumps(other))
    return json.loads(text)


def site_scale(sites: Sequence[str]) -> alt.Scale:
    """Colours of sites, none of which is the base's or the last stage's."""
    return alt.Scale(domain=list(sites), range=[SITES[i % len(SITES)] for i in range(len(sites))])


PARTS = {"embed": "#8c6d31", "attn": "#009E73", "kv": "#56B4E9", "mlp": "#CC79A7", "norm": "#999999"}
PARTS |= {"unembed": INK, "attn_out": "#009E73", "mlp_out": "#CC79A7", "layer": "#CC79A7"}


def part_scale(sites: Sequence[str]) -> alt.Scale:
    """Colours of components, the same in every chart; those without one of their own take what is left."""
    spare = [colour for colour in SITES if colour not in {PARTS[site] for site in sites if site in PARTS}]
    others = [site for site in sites if site not in PARTS]
    chosen = {**PARTS, **{site: spare[i % len(spare)] for i, site in enumerate(others)}}
    return alt.Scale(domain=list(sites), range=[chosen[site] for site in sites])
