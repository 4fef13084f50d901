"""Marks that many pictures share: means with 95 % intervals as dots or lines, zero lines, heat maps, and their axes."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.effects import labels
from mcinterp.show.theme import DIVERGING, MUTED, SEQUENTIAL
from mcinterp.statistics import bootstrap

DRAWS, WIDE, HIGH, ROW = 300, 260, 180, 15
ENDS = ("mean", "low", "high")
HEADER = alt.Header(title=None, labelFontSize=12, labelFontWeight=600, labelAnchor="start")
ROWS = alt.Header(title=None, labelFontSize=12, labelFontWeight=600)
LAYERS = alt.Axis(tickMinStep=1, format="d", grid=False)


def mean_table(values: xr.DataArray, **columns: Any) -> pd.DataFrame:
    """Mean over prompts with its 95 % interval over templates: one row for every label of the other axes."""
    ordered = values.transpose("prompt", ...)
    found = bootstrap(ordered.values.astype(float), ordered["template"].values.tolist(), draws=DRAWS)
    dims = ordered.dims[1:]
    data = {name: (dims, end) for name, end in zip(ENDS, found, strict=True)}
    table = xr.Dataset(data, coords=labels(ordered, dims))
    rows = table.to_dataframe().reset_index() if dims else pd.DataFrame([{n: float(table[n]) for n in ENDS}])
    return rows.assign(**columns)


def interval_table(dataset: xr.Dataset, name: str, *keys: str, **columns: Any) -> pd.DataFrame:
    """A variable with its `_low` and `_high` as `mean`, `low` and `high`, beside the coordinates of some keys."""
    ends = {name: "mean", f"{name}_low": "low", f"{name}_high": "high"}
    return dataset[list(ends)].rename(ends).to_dataframe().reset_index()[[*keys, *ENDS]].assign(**columns)


def columns(table: Any, *names: str) -> pd.DataFrame:
    """The named columns of a table."""
    return pd.DataFrame(table[list(names)])


def known(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a mean."""
    return pd.DataFrame(table[np.isfinite(np.asarray(table["mean"], dtype=float))])


def hover(*names: str, digits: str = ".3f", ends: Sequence[str] = ENDS) -> list[Any]:
    """What is shown on hover: labels, and a mean with its ends."""
    return [*names, *(alt.Tooltip(f"{end}:Q", format=digits) for end in ends)]


def zero(axis: str, value: float = 0.0) -> Any:
    """A dashed line where nothing has changed (or at another value), across `x` or along `y`."""
    line = alt.Chart(pd.DataFrame({"at": [value]})).mark_rule(color=MUTED, strokeDash=[3, 3])
    return line.encode(x=alt.X("at:Q")) if axis == "x" else line.encode(y=alt.Y("at:Q"))


def colours(name: str, order: Sequence[str], scale: alt.Scale, *, orient: Any = None, legend: bool = True) -> alt.Color:
    """A colour for every name, with full colours in the legend."""
    kept = alt.Legend(title=None, symbolOpacity=1, symbolType="circle", symbolSize=80)
    kept = kept if orient is None else alt.Legend(**{**kept.to_dict(), "orient": orient})
    return alt.Color(f"{name}:N", scale=scale, sort=list(order), legend=kept if legend else None)


def dots(
    table: pd.DataFrame,
    row: str,
    order: Sequence[str],
    x: str,
    colour: Any,
    *,
    offset: str | None = None,
    offsets: Sequence[str] = (),
    width: int = WIDE,
    limit: int = 240,
    named: bool = True,
    scale: alt.Scale | None = None,
    shown: Sequence[str] = (),
) -> Any:
    """A dot a row with its 95 % interval, several beside one another where there is an offset, and a line at zero."""
    axis = alt.Axis(labelLimit=limit, domain=False, ticks=False, labelPadding=6, labels=named)
    plain = alt.Chart(table).encode(y=alt.Y(f"{row}:N", sort=list(order), title=None, axis=axis), color=colour)
    step = alt.Step(ROW)
    if offset is not None and len(offsets) > 1:
        plain = plain.encode(yOffset=alt.YOffset(f"{offset}:N", sort=list(offsets)))
        step = alt.Step(6)
    scale = scale if scale is not None else alt.Scale(zero=True)
    rules = plain.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=x, scale=scale), x2="high:Q")
    tooltip = hover(row, *(name for name in dict.fromkeys([offset, *shown]) if name not in (None, row)))
    points = plain.mark_point(filled=True, size=40, opacity=1).encode(
        x=alt.X("mean:Q", title=x, scale=scale), tooltip=tooltip
    )
    return alt.layer(zero("x"), rules, points).properties(width=width, height=step)


def lines(
    table: pd.DataFrame,
    x: alt.X,
    y: str,
    colour: Any,
    *,
    width: int = WIDE,
    height: int = HIGH,
    scale: alt.Scale | None = None,
    shown: Sequence[str] = (),
    **encoded: Any,
) -> Any:
    """A line of means with its 95 % interval as a band, and a line at zero where zero lies between."""
    scale = scale if scale is not None else alt.Scale(zero=True)
    return alt.layer(*line_layers(table, x, y, colour, scale, shown, **encoded)).properties(width=width, height=height)


def line_layers(
    table: pd.DataFrame, x: alt.X, y: str, colour: Any, scale: alt.Scale, shown: Sequence[str], **encoded: Any
) -> list[Any]:
    """The same as layers of a larger panel."""
    plain = alt.Chart(table).encode(x=x, color=colour, **encoded)
    bands = plain.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title=y, scale=scale), y2="high:Q")
    drawn = plain.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=26)).encode(
        y=alt.Y("mean:Q", title=y, scale=scale), tooltip=hover(*shown)
    )
    least = float(np.nanmin(table[["mean", "low"]].to_numpy(dtype=float), initial=0.0))
    layers = [bands] if np.isfinite(table["low"].to_numpy(dtype=float)).any() else []
    below = [zero("y")] if least < 0 else []
    return [*below, *layers, drawn]


def signed(values: Any, *, least: float = 0.02, reverse: bool = False) -> alt.Scale:
    """A diverging scale, symmetric about zero; it reaches as far as the rarest 0.5 % of the values, which it clamps."""
    size = np.abs(np.asarray(values, dtype=float))
    far = max(least, float(np.nanquantile(size, 0.995)) if np.isfinite(size).any() else least)
    return alt.Scale(scheme=DIVERGING, domain=[-far, far], domainMid=0, clamp=True, reverse=reverse)


def heat(value: str, title: str, scale: alt.Scale | None = None) -> alt.Color:
    """The colour of a cell; without a scale from 0 to 1."""
    return alt.Color(f"{value}:Q", title=title, scale=scale or alt.Scale(scheme=SEQUENTIAL, domain=[0, 1]))


def cells(table: pd.DataFrame, x: alt.X, y: alt.Y, colour: alt.Color, shown: Sequence[Any], *, step: int = 15) -> Any:
    """A heat map with steps of one size."""
    drawn = alt.Chart(table).mark_rect().encode(x=x, y=y, color=colour, tooltip=list(shown))
    return drawn.properties(width=alt.Step(step), height=alt.Step(15))


def small(title: str) -> alt.TitleParams:
    """A panel's title."""
    return alt.TitleParams(title, fontSize=12, fontWeight="normal", frame="group")


def shortened(text: str, most: int = 44) -> str:
    """A text in one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def numbered(texts: Sequence[str], most: int = 44) -> list[str]:
    """Texts cut to one line each; those that would be alike get their number."""
    cut = [shortened(text, most) or "(nothing)" for text in texts]
    return [f"{text} ({index})" if cut.count(text) > 1 else text for index, text in enumerate(cut)]
