"""Blocks of multiverses as charts: a panel a stage, and one pick that enlarges a branch in all of them."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import xarray as xr

from mcinterp.show.behaviour.multiverse_layout import blocks, gaps, words
from mcinterp.show.theme import FAINT, LINE, PAPER, stage_colours

WIDTH, HEIGHT, COLUMNS = 440, 235, 2
LEAST, LEGIBLE, CHARACTER, DIGITS = 0.002, 0.045, 5.2, 6


def icicles(trees: Sequence[xr.Dataset]) -> Any:
    """The blocks of every stage of a prompt's tree, with one pick for all panels.

    Of several trees one is shown, chosen from a list below the chart.
    """
    stages = trees[0]["stage"].values.tolist()
    names = [str(tree["text"].values) for tree in trees]
    fields = [f"{end}_{k}" for k in range(len(stages)) for end in ("low", "high")]
    pick: Any = alt.selection_point(fields=[*fields, "depth", "tree"], clear="dblclick", toggle=False)
    menu = alt.binding_select(options=list(range(len(trees))), labels=names, name="prompt: ")
    panels = [icicle(trees, k) for k in range(len(stages))]
    together: Any = alt.concat(*panels, columns=COLUMNS, spacing=18)
    views = [f"blocks_{k}" for k in range(len(stages))]
    picking = alt.TopLevelSelectionParameter(name="pick", select=pick.param.select, views=views)
    shown = alt.VariableParameter(name="shown", value=0, bind=menu if len(trees) > 1 else alt.Undefined)
    together.params = [shown, picking]
    return together


def picked(end: str, otherwise: str) -> str:
    """The expression of a field of the picked block, if it is of the tree that is shown."""
    return f"(isValid(pick.{end}) && pick.tree[0] == shown ? pick.{end}[0] : {otherwise})"


def icicle(trees: Sequence[xr.Dataset], k: int) -> Any:
    """One stage's blocks, what was cut off, ends of texts, and words."""
    stages, depth = trees[0]["stage"].values.tolist(), max(int(tree["node_depth"].max()) for tree in trees)
    top, bottom = picked(f"low_{k}", "0"), picked(f"high_{k}", "1")
    left = f"({picked('depth', '1')}) - 1"
    x = alt.X(
        "left:Q", title="tokens after the prompt", axis=alt.Axis(grid=False, tickMinStep=1),
        scale=alt.Scale(domain=[alt.ExprRef(left), depth], nice=False),
    )  # fmt: skip
    y = alt.Y(f"low_{k}:Q", axis=None, scale=alt.Scale(domain=[alt.ExprRef(top), alt.ExprRef(bottom)], reverse=True))
    place = {"x": x, "y": y, "y2": f"high_{k}:Q"}
    tables = [blocks(tree, LEAST) for tree in trees]
    cut, ended = joined([gaps(tree, LEAST) for tree in trees]), joined(tables).query("ended")
    layers = [
        *([rectangles(cut, 0.5, FAINT).encode(**place)] if len(cut) else []),
        bars(joined(tables), stages, k).encode(**place).properties(name=f"blocks_{k}"),
        *([rectangles(ended, 0.25, LINE).encode(**place, tooltip=tooltip(stages))] if len(ended) else []),
        text(joined([said(*each, stages[k], depth) for each in zip(trees, tables, strict=True)]), k, top, bottom, x),
    ]
    colour = stage_colours(stages)[stages[k]]
    title = alt.TitleParams(stages[k], fontSize=12, fontWeight=600, frame="group", color=colour)
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The tables of all trees, numbered, with the left edge of every row's column."""
    whole = pd.concat([table.assign(tree=number) for number, table in enumerate(tables)], ignore_index=True)
    return whole.assign(left=whole["depth"] - 1).round(DIGITS)


def shown_only(table: pd.DataFrame) -> Any:
    """A chart of the rows of the tree that is shown."""
    return alt.Chart(table).transform_filter("datum.tree == shown")


def bars(table: pd.DataFrame, stages: list[str], k: int) -> Any:
    """The tokens of texts that go on, the fuller the surer they are."""
    opacity = alt.Opacity(f"next_{k}:Q", scale=alt.Scale(domain=[0, 1], range=[0.16, 0.72]), legend=None)
    marks = shown_only(table.query("not ended")).mark_rect(
        clip=True, color=stage_colours(stages)[stages[k]], stroke=PAPER, strokeWidth=0.4
    )
    return marks.encode(x2="depth:Q", opacity=opacity, tooltip=tooltip(stages))


def rectangles(table: pd.DataFrame, width: float, colour: str) -> Any:
    """Blocks of one colour and a width, in columns."""
    wide = table.assign(right=table["left"] + width)
    return shown_only(wide).mark_rect(clip=True, color=colour, stroke=PAPER, strokeWidth=0.4).encode(x2="right:Q")


def text(table: pd.DataFrame, k: int, top: str, bottom: str, x: alt.X) -> Any:
    """The words of blocks that are high enough for them."""
    legible = f"(datum.high_{k} - datum.low_{k}) / ({bottom} - {top}) > {LEGIBLE}"
    chart = shown_only(table).transform_filter(legible)
    chart = chart.transform_calculate(middle=f"(datum.low_{k} + datum.high_{k}) / 2")
    marks = chart.mark_text(clip=True, align="left", dx=2, fontSize=9.5, color="black")
    return marks.encode(x=x, y=alt.Y("middle:Q", axis=None), text="word:N")


def tooltip(stages: list[str]) -> list[Any]:
    """What a block says on hover: its token and text, and its probabilities under every stage."""
    numbers = [
        alt.Tooltip(f"{kind}_{k}:Q", format=".4f", title=f"{stage}: {said}")
        for k, stage in enumerate(stages)
        for kind, said in (("next", "next token"), ("share", "all so far"))
    ]
    return [alt.Tooltip("token:N"), alt.Tooltip("so_far:N", title="so far"), *numbers]


def said(tree: xr.Dataset, table: pd.DataFrame, stage: str, depth: int) -> pd.DataFrame:
    """The words of every run, cut to its width, with the ends of its first block."""
    ends = table[["node", "depth", *(name for name in table if str(name).startswith(("low_", "high_")))]]
    found = words(tree, stage).merge(ends, on="node")
    room = (found["length"] * WIDTH / depth / CHARACTER).astype(int).tolist()
    pairs = list(zip(found["word"].tolist(), room, strict=True))
    fits = [word if len(word) <= r else word[: max(0, r - 1)] + "…" for word, r in pairs]
    return found.assign(word=fits).loc[[r >= 3 or len(word) <= r for word, r in pairs]]
