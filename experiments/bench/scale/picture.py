"""The picture of `memory`: peaks over depth, a panel an analysis, a line a placement, beside the weights' size."""

import argparse
import json
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from mcinterp.show.marks import small
from mcinterp.show.saving import save_still
from mcinterp.show.theme import BETWEEN, MUTED, themed

PLACEMENTS = {"together": "together", "one": "one model at a time", "stream": "layer by layer"}
ANALYSES = {"logit_lens": "logit lens", "patch": "activation patching", "graft_sweep": "weight grafts"}
WEIGHTS = "weights of the pair"
WIDE, HIGH, GB = 210, 230, 1e9


def add_options(verb: argparse.ArgumentParser) -> None:
    """What may be asked of this verb."""
    verb.add_argument("--out", type=Path, default=Path("figures/bench_memory.json"), help="what `memory` wrote")


def run(options: argparse.Namespace) -> None:
    """Draw what was measured, beside it."""
    for path in draw(options.out):
        print(path)


def draw(path: Path) -> list[Path]:
    """Write the picture of a JSON file of `memory` as SVG and PNG."""
    return save_still(peaks(json.loads(path.read_text())["rows"]), path.parent, path.stem)


def peaks(rows: list[dict[str, Any]]) -> Any:
    """All panels with one vertical axis."""
    table = pd.DataFrame(rows)
    table = table.assign(held=[PLACEMENTS[name] for name in table["placement"]], peak=table["peak_anonymous"] / GB)
    weights = table.drop_duplicates(["depth", "analysis"])
    weights = weights.assign(held=WEIGHTS, peak=2 * weights["model_bytes"] / GB)
    layer = table["layer_bytes"].iloc[0] / 1e6
    both, named = pd.concat([table, weights]), list(ANALYSES)
    panels = [panel(both, name, first=name == named[0]) for name in named]
    title = alt.TitleParams(
        "Peak memory of a pair over the depth of its models",
        subtitle=f"Anonymous memory above what the process held before loading; layers of {layer:.0f} MB in float32",
        offset=12,
    )
    return themed(alt.hconcat(*panels, spacing=22).properties(title=title))


def panel(both: Any, name: str, *, first: bool) -> Any:
    """One analysis; the first panel names the vertical axis."""
    table = both[both["analysis"] == name]
    depths = sorted(set(both["depth"]))
    across = alt.Axis(values=depths, grid=False, format="d")
    x = alt.X("depth:Q", title="layers", scale=alt.Scale(domain=[0, max(depths)]), axis=across)
    scale = alt.Scale(domain=[0, float(both["peak"].max())], nice=True)
    y = alt.Y("peak:Q", title="peak, GB" if first else None, scale=scale)
    held = [*PLACEMENTS.values(), WEIGHTS]
    colour = alt.Color(
        "held:N",
        sort=held,
        scale=alt.Scale(domain=held, range=[*BETWEEN[:3], MUTED]),
        legend=alt.Legend(title=None, symbolType="circle", symbolOpacity=1, orient="bottom"),
    )
    shown = ["held", "depth", alt.Tooltip("peak:Q", format=".3f")]
    weights = alt.Chart(table[table["held"] == WEIGHTS]).mark_line(strokeDash=[4, 3])
    measured = alt.Chart(table[table["held"] != WEIGHTS])
    measured = measured.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=34))
    drawn = [each.encode(x=x, y=y, color=colour, tooltip=shown) for each in (weights, measured)]
    return alt.layer(*drawn).properties(width=WIDE, height=HIGH, title=small(ANALYSES[name]))
