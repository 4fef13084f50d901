"""Pictures of attention: patterns of the heads that changed most, and scores of all heads."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.show.figures import visible
from mcinterp.show.marks import HEADER, ROWS, cells, columns, heat, signed
from mcinterp.show.theme import DIVERGING, themed

MOST_HEADS, MOST_TOKENS, SIDE = 4, 32, 190
SCORES = {
    "induction_score": "induction",
    "previous_token_score": "previous token",
    "duplicate_token_score": "same token",
    "copying_score": "copying",
}


def attention_patterns(attention: xr.Dataset, *, prompt: int | None = None, layer: int | None = None) -> Any:
    """Attention (probability) from each token to those before it: base, last stage, and last stage minus base.

    Of one prompt (the first by default), the heads of one layer (by default the one whose patterns differ most), at
    most the 4 that differ most; of a long prompt the last 32 tokens.
    """
    chosen = attention["prompt"].values.tolist()[0] if prompt is None else prompt
    one = attention.sel(prompt=chosen).isel(stage=[0, -1])
    size = int(one["n_tokens"])
    one = one.isel(query=slice(max(0, size - MOST_TOKENS), size), key=slice(max(0, size - MOST_TOKENS), size))
    pattern = one["attention"]
    gap = (abs(pattern.isel(stage=1) - pattern.isel(stage=0)).sum("key") / 2).mean("query")
    at = int(gap["layer"].values[int(gap.mean("head").values.argmax())]) if layer is None else layer
    heads = sorted(np.argsort(-gap.sel(layer=at).values, kind="stable")[:MOST_HEADS].tolist())
    table = pattern_table(pattern.sel(layer=at).isel(head=heads), [str(token) for token in one["token"].values], heads)
    names = [str(name) for name in one["stage"].values]
    title = f"Attention of layer {at}, where it differs most" if layer is None else f"Attention of layer {at}"
    pair, order = table[table["what"] != "difference"].assign(), [f"{names[0]} ", names[1]]
    pair["what"] = [order[0] if what == "base" else order[1] for what in pair["what"]]
    step = max(6, SIDE // pattern.sizes["query"])
    left = patterns(pair, heat("attention", "attention"), order, step)
    scale = signed(table.loc[table["what"] == "difference", "attention"], least=0.05)
    gaps = table[table["what"] == "difference"].assign(what=f"{names[1]} minus {names[0]}")
    right = patterns(gaps, heat("attention", "difference", scale), [f"{names[1]} minus {names[0]}"], step)
    whole = alt.hconcat(left, right, spacing=14).resolve_scale(color="independent")
    return themed(whole.properties(title=title))


def pattern_table(pattern: xr.DataArray, tokens: list[str], heads: list[int]) -> pd.DataFrame:
    """One row a panel, head, query and key not behind it."""
    names = [f"{number} {visible(token)}" for number, token in enumerate(tokens)]
    values = pattern.transpose("stage", "head", "query", "key").values
    kinds = {"base": values[0], "tuned": values[1], "difference": values[1] - values[0]}
    rows = [
        (what, f"head {head}", names[q], names[k], q, k, round(float(each[h, q, k]), 4))
        for what, each in kinds.items()
        for h, head in enumerate(heads)
        for q in range(len(names))
        for k in range(q + 1)
    ]
    return pd.DataFrame(rows, columns=["what", "head", "query", "key", "row", "column", "attention"])


def patterns(table: pd.DataFrame, colour: alt.Color, order: list[str], step: int) -> Any:
    """Heads from top to bottom, stages side by side."""
    axis = alt.Axis(labelFontSize=9, labelLimit=60, labelOverlap=False)
    upright = alt.Axis(labelFontSize=9, labelLimit=60, labelAngle=-60, labelOverlap=False)
    x = alt.X("key:N", sort=alt.SortField("column"), title="key (read from)", axis=upright)
    y = alt.Y("query:N", sort=alt.SortField("row"), title="query", axis=axis)
    drawn = cells(table, x, y, colour, ["head", "query", "key", alt.Tooltip("attention:Q", format=".3f")])
    drawn = drawn.properties(width=alt.Step(step), height=alt.Step(step))
    return drawn.facet(row=alt.Row("head:N", header=ROWS), column=alt.Column("what:N", header=HEADER, sort=order))


def head_scores(heads: xr.Dataset) -> Any:
    """Scores of every head by layer, and how far its attention is from the base's: a row a stage, a column a score.

    Induction, previous and same token are attention probabilities; copying and the distance (total variation, mean over
    prompts) have no unit. Scores that an architecture lacks are left out.
    """
    names = {name: said for name, said in SCORES.items() if bool(heads[name].notnull().any())}
    parts = [heads[name].to_dataframe("score").reset_index().assign(what=said) for name, said in names.items()]
    distance = heads["attention_distance"].mean("prompt").to_dataframe("score").reset_index()
    parts.append(distance.assign(what="distance from the base"))
    table = columns(pd.concat(parts), "stage", "layer", "head", "what", "score")
    scale = alt.Scale(scheme=DIVERGING, domain=[-1, 1], domainMid=0)
    drawn = cells(
        table,
        alt.X("head:O", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        alt.Y("layer:O", sort="descending"),
        heat("score", "score", scale),
        ["stage", "what", "layer", "head", alt.Tooltip("score:Q", format=".3f")],
        step=max(12, 96 // heads.sizes["head"]),
    )
    order = [*names.values(), "distance from the base"]
    row = alt.Row("stage:N", header=ROWS, sort=heads["stage"].values.tolist())
    return themed(
        drawn.facet(row=row, column=alt.Column("what:N", header=HEADER, sort=order)).properties(title="Attention heads")
    )
