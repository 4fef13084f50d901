"""Charts of datasets: one call a dataset, the same specification for the browser and for paper.

A chart is saved by `chart.save("name.html" | "name.svg" | "name.png")`; SVG and PNG need neither browser nor network.
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.landmarks import depth_curve, final_distribution
from mcinterp.results import token_text
from mcinterp.show.marks import ENDS, columns, lines, mean_table
from mcinterp.show.theme import DIVERGING, SEQUENTIAL, stage_scale, themed
from mcinterp.statistics import bootstrap

CELL_WIDTH, CELL_HEIGHT = 40, 19
FAR = 0.995


def entropy_by_depth(lens: xr.Dataset, *, lens_name: str = "own", position: int = 0, draws: int = 300) -> Any:
    """Mean lens entropy at one position over the depth of the network, one line a stage, with 95 % intervals."""
    return themed(depth_panel(lens, lens_name, position=position, draws=draws).properties(width=470, height=250))


def depth_panel(lens: xr.Dataset, lens_name: str, *, position: int = 0, draws: int = 300) -> Any:
    """The same as a part of a larger picture."""
    stages = lens["stage"].values.tolist()
    table = entropy_table(lens, lens_name, position, draws)
    line = alt.Chart(table, title=f"Lens entropy by depth ({lens_name} readout)").encode(
        x=alt.X("depth:N", sort=None, title="depth (layer_site)", axis=alt.Axis(labelAngle=-60)),
        color=stage_colour(stages),
    )
    y = alt.Y("entropy:Q", title="entropy (nats)", scale=alt.Scale(zero=True))
    tooltip = ["stage", "depth", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("entropy", "low", "high"))]
    curve = line.mark_line(point=True).encode(y=y, tooltip=tooltip)
    if np.isfinite(table["low"].to_numpy()).any():
        band = line.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title="entropy (nats)"), y2="high:Q")
        curve = band + curve
    return curve


def stage_colour(stages: list[str]) -> alt.Color:
    """A line or band in its stage's colour, with full colours in the legend."""
    legend = alt.Legend(title=None, symbolOpacity=1, symbolStrokeWidth=3, symbolType="stroke")
    return alt.Color("stage:N", scale=stage_scale(stages), sort=stages, legend=legend)


def entropy_table(lens: xr.Dataset, lens_name: str, position: int, draws: int) -> pd.DataFrame:
    """Mean entropy of every stage and depth with its interval over templates."""
    curve = depth_curve(lens["entropy"].sel(lens=lens_name, position=position)).transpose("prompt", "stage", "depth")
    interval = bootstrap(curve.values.astype(float), lens["template"].values.tolist(), draws=draws)
    rows = {name: end.ravel() for name, end in zip(("entropy", "low", "high"), interval, strict=True)}
    labels = pd.MultiIndex.from_product([curve["stage"].values, curve["depth"].values], names=["stage", "depth"])
    return pd.DataFrame(rows, index=labels).reset_index()


def entropy_by_position(lens: xr.Dataset) -> Any:
    """Mean entropy of every stage's own distribution along the teacher-forced completion, with 95 % intervals."""
    return themed(position_panel(lens).properties(width=470, height=250))


def position_panel(lens: xr.Dataset) -> Any:
    """The same as a part of a larger picture."""
    final = final_distribution(lens)["entropy"]
    final = final.sel(position=lens["position"] >= 0).drop_vars(["lens", "site", "layer"], errors="ignore")
    x = alt.X("position:Q", title="tokens after the prompt", axis=alt.Axis(tickMinStep=1))
    shown = ["stage", "position"]
    table = columns(mean_table(final.transpose("prompt", "stage", "position")), *shown, *ENDS)
    colour = stage_colour(lens["stage"].values.tolist())
    return lines(table, x, "mean entropy (nats)", colour, shown=shown).properties(title="Entropy along the completion")


def lens_grid(lens: xr.Dataset, prompt: int, *, lens_name: str = "own") -> Any:
    """Base and tuned lens side by side for one prompt, and tuned minus base; see `lens_cells` for what is shown."""
    return lens_grid_chart(lens, pd.DataFrame(lens_cells(lens, prompt, lens_name)))


def lens_cells(
    lens: xr.Dataset, prompt: int, lens_name: str, *, before: int = 5, after: int = 10
) -> list[dict[str, Any]]:
    """One row a panel, position and depth: entropy, top token, its probability, and the next best on hover.

    Panels are the base, the last stage, and their difference (entropy tuned minus base; the tuned stage's top token
    where it is not the base's). Positions reach from `before` prompt tokens to `after` completion tokens.
    """
    one = lens.isel(prompt=prompt, stage=[0, -1]).sel(lens=lens_name)
    read = one["entropy"].notnull().any(["stage", "layer", "site"])
    window = one.sel(position=read & (one["position"] > -before) & (one["position"] < after))
    base, tuned = stage_cells(window, {index: visible(token) for index, token in token_text(lens).items()})
    places = [
        {"depth": depth, "column": f"{position} {visible(token)}", "order": order}
        for depth in depth_curve(window["entropy"])["depth"].values.tolist()
        for order, (position, token) in enumerate(zip(window["position"].values, window["token"].values, strict=True))
    ]
    panels = {"base": base, "tuned": tuned, "difference": list(map(cell_difference, base, tuned))}
    return [
        place | {"panel": panel} | cell
        for panel, cells in panels.items()
        for place, cell in zip(places, cells, strict=True)
    ]


def stage_cells(window: xr.Dataset, text: dict[int, str]) -> list[list[dict[str, Any]]]:
    """What every stage says at each depth and position, depth by depth."""
    order = ("stage", "depth", "position")
    entropy = depth_curve(window["entropy"]).transpose(*order).values
    ids, shares = (
        depth_curve(window[f"top_{name}"]).transpose(*order, "choice").values for name in ("token", "probability")
    )
    stages = []
    for values, tokens, probabilities in zip(entropy, ids, shares, strict=True):
        flat = zip(
            values.ravel(), tokens.reshape(-1, ids.shape[-1]), probabilities.reshape(-1, ids.shape[-1]), strict=True
        )
        stages.append([cell(float(value), t.tolist(), p.tolist(), text) for value, t, p in flat])
    return stages


def cell(entropy: float, ids: list[int], probabilities: list[float], text: dict[int, str]) -> dict[str, Any]:
    """One cell of a lens grid: the top token is written in it, the best ones are shown on hover."""
    best = ", ".join(f"{text[i]} {p:.2f}" for i, p in zip(ids, probabilities, strict=True))
    return {"entropy": round(entropy, 3), "token": text[ids[0]], "best": best}


def cell_difference(base: dict[str, Any], tuned: dict[str, Any]) -> dict[str, Any]:
    """Entropy tuned minus base; the tuned token where the base has another."""
    return {
        "entropy": round(tuned["entropy"] - base["entropy"], 3),
        "token": tuned["token"] if tuned["token"] != base["token"] else "",
        "best": f"base: {base['best']} | tuned: {tuned['best']}",
    }


def visible(token: str) -> str:
    """A token as it can be seen: leading spaces and line breaks marked."""
    return token.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥") or "∅"


def lens_grid_chart(lens: xr.Dataset, data: Any) -> Any:
    """The chart over rows of `lens_cells`; base and tuned share one colour scale.

    The difference has a symmetric scale of its own, the same for all prompts; its rarest ends are clamped.
    """
    return themed(grid_panels(lens, data))


def grid_panels(lens: xr.Dataset, data: Any) -> Any:
    """The same as a part of a larger picture."""
    stages = lens["stage"].values.tolist()
    widest = float(np.nanmax(lens["entropy"].values))
    titles = {"base": stages[0], "tuned": stages[-1], "difference": f"{stages[-1]} minus {stages[0]}"}
    shared = alt.Color("entropy:Q", scale=alt.Scale(scheme=SEQUENTIAL, domain=[0, widest]), title="entropy (nats)")
    far = float(np.nanquantile(abs(lens["entropy"].isel(stage=-1) - lens["entropy"].isel(stage=0)), FAR)) or 1.0
    scale = alt.Scale(scheme=DIVERGING, domain=[-far, far], domainMid=0, reverse=True, clamp=True)
    signed = alt.Color("entropy:Q", scale=scale, title="difference (nats)")
    pair = [panel(data, name, titles[name], shared, widest / 2) for name in ("base", "tuned")]
    gap = panel(data, "difference", titles["difference"], signed, None)
    return alt.vconcat(alt.hconcat(*pair), gap).resolve_scale(color="independent")


def panel(data: Any, name: str, title: str, colour: alt.Color, dark_below: float | None) -> Any:
    """One heatmap of depth by position with the top token written in every cell."""
    rows = (
        alt.Chart(data, title=title)
        .transform_filter(alt.datum.panel == name)
        .encode(
            x=alt.X("column:N", sort=alt.SortField("order"), title="position and token", axis=alt.Axis(labelAngle=-45)),
            y=alt.Y("depth:N", sort=None, title="depth"),
            tooltip=[
                alt.Tooltip("column:N", title="position"),
                "depth:N",
                alt.Tooltip("entropy:Q", format=".3f"),
                alt.Tooltip("best:N", title="top tokens"),
            ],
        )
    )
    ink = (
        alt.value("black")
        if dark_below is None
        else alt.condition(alt.datum.entropy < dark_below, alt.value("white"), alt.value("black"))
    )
    words = rows.mark_text(fontSize=9, limit=CELL_WIDTH - 2).encode(text="token:N", color=ink)
    sized = (rows.mark_rect().encode(color=colour) + words).properties(
        width=alt.Step(CELL_WIDTH), height=alt.Step(CELL_HEIGHT)
    )
    return sized
