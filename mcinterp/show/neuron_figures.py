"""Pictures of neurons: what their weights say, what ablating them does, and how the stages' sets compare."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.neurons.set_effects import set_effects as sets_of
from mcinterp.results import provenance_of
from mcinterp.show.marks import (
    ENDS,
    HEADER,
    ROWS,
    cells,
    colours,
    columns,
    dots,
    heat,
    hover,
    interval_table,
    mean_table,
    small,
    zero,
)
from mcinterp.show.theme import FAINT, LINE, MUTED, TUNED, later_scale, site_scale, stage_scale, themed

POWERS = alt.Axis(format=".0e", tickCount=4)
MOST_POINTS, MOST_UNITS = 200, 24
EFFECTS = ("free: all of the effect", "frozen: without the norm's scale")


def neuron_statistics(found: xr.Dataset) -> Any:
    """Neurons by how much of their output the unembedding does not read and by the variance of what it does (log).

    A column a stage, a row a layer; the dashed line is the unread share of a random vector. Of a wide layer at most 200
    neurons: the half least read, and of the others every n-th. Entropy neurons stand to the right and low.
    """
    stages, layers = found["stage"].values.tolist(), found["layer"].values.tolist()
    parts = [most_telling(found.sel(stage=stage, layer=layer)) for stage in stages for layer in layers]
    table = pd.concat(parts)
    table = table[table["logit_variance"] > 0].assign(chance=float(found.attrs.get("null_fraction_by_chance", np.nan)))
    shown = ["stage", "layer", "neuron", *(alt.Tooltip(f"{name}:Q", format=".3g") for name in COLUMNS)]
    points = alt.Chart().mark_point(filled=True, size=22, opacity=0.55).encode(
        x=alt.X("null_fraction:Q", title="unread share of the output"),
        y=alt.Y("logit_variance:Q", title="LogitVar (log)", scale=alt.Scale(type="log", nice=False), axis=POWERS),
        color=colours("stage", stages, stage_scale(stages), legend=False),
        tooltip=shown,
    )  # fmt: skip
    chance = alt.Chart().mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x="mean(chance):Q")
    drawn = alt.layer(chance, points, data=table).properties(width=190, height=150)
    table["row"] = [f"layer {layer}" for layer in table["layer"]]
    row = alt.Row("row:N", header=ROWS, sort=[f"layer {layer}" for layer in layers])
    faceted = drawn.facet(row=row, column=alt.Column("stage:N", header=HEADER, sort=stages))
    return themed(faceted.properties(title="What the unembedding reads of each neuron"))


COLUMNS = ("null_fraction", "logit_variance", "output_norm", "frequency_alignment")


def most_telling(one: xr.Dataset) -> pd.DataFrame:
    """The neurons of one stage and layer that are shown."""
    order = np.argsort(-np.nan_to_num(one["null_fraction"].values, nan=-1.0), kind="stable")
    half = MOST_POINTS // 2
    rest = order[half:]
    every = max(1, -(-len(rest) // half))
    kept = one.isel(neuron=np.concatenate([order[:half], rest[::every]]))
    table = kept[list(COLUMNS)].to_dataframe().reset_index()[["stage", "layer", "neuron", *COLUMNS]]
    return table.assign(**{name: [float(f"{value:.4g}") for value in table[name]] for name in COLUMNS})


def neuron_effects(found: xr.Dataset) -> Any:
    """What mean-ablating single neurons does to the entropy (nats), with the final norm's scale free and frozen.

    Means over prompts with 95 % intervals over templates, a panel a stage; at most the 24 neurons of the largest total
    effect, largest on top.
    """
    names = unit_names(found)
    found = found.assign_coords(unit=names)
    size = abs(found["entropy_effect"]).mean(["prompt", "stage"]).values
    order = [names[i] for i in np.argsort(-size, kind="stable")[:MOST_UNITS]]
    kept, stages = found.sel(unit=order), found["stage"].values.tolist()
    kinds = dict(zip(("entropy_effect", "entropy_direct"), EFFECTS, strict=True))
    table = pd.concat([mean_table(kept[name], what=said) for name, said in kinds.items()])
    table = table[["stage", "unit", "what", *ENDS]]
    colour = colours("what", EFFECTS, site_scale(EFFECTS), orient="bottom")
    panels = [
        dots(pd.DataFrame(table[table["stage"] == stage]), "unit", order, "change of entropy (nats)", colour,
             offset="what", offsets=EFFECTS, width=220, named=stage == stages[0]).properties(title=small(stage))
        for stage in stages
    ]  # fmt: skip
    title = "Single neurons ablated: the change of entropy"
    return themed(alt.hconcat(*panels, spacing=16).resolve_scale(x="shared").properties(title=title))


def unit_names(found: xr.Dataset) -> list[str]:
    """Every unit as `layer.neuron`."""
    return [f"{int(a)}.{int(b)}" for a, b in zip(found["layer"].values, found["neuron"].values, strict=True)]


def mediated_share(found: xr.Dataset) -> Any:
    """The effect of every neuron (its metric's unit) and the share that goes through the final norm's scale.

    A dot a stage with its 95 % interval over templates, at most 24 neurons, the largest effect on top.
    """
    metric = str(provenance_of(found).get("metric", "entropy")).replace("_", " ")
    names, stages = unit_names(found), found["stage"].values.tolist()
    found = found.assign_coords(unit=names)
    order = [names[i] for i in np.argsort(-abs(found["effect"]).max("stage").values, kind="stable")[:MOST_UNITS]]
    kept, colour = found.sel(unit=order), colours("stage", stages, stage_scale(stages))
    size: dict[str, Any] = {"offset": "stage", "offsets": stages, "width": 220}
    whole = dots(
        interval_table(kept, "effect", "stage", "unit"), "unit", order, f"effect on {metric} (nats)", colour, **size
    )
    table = interval_table(kept, "mediated_share", "stage", "unit")
    table[list(ENDS)] = table[list(ENDS)].clip(lower=-1.0)
    share = dots(table, "unit", order, "share through the scale (cut at -1)", colour, named=False, **size)
    title = "What single neurons do, and how much through the final norm's scale"
    return themed(alt.hconcat(whole, share, spacing=16).properties(title=title))


def set_effects(found: xr.Dataset) -> Any:
    """Share of the gap that patching each set of neurons moves, beside random sets of neurons of the same norms.

    Dots with 95 % intervals over templates; grey, from the least to the largest random set, its mean as a tick.
    """
    return themed(sets_panel(found).properties(title="Patched sets of neurons beside random ones"))


def sets_panel(found: xr.Dataset) -> Any:
    """The same as a part of a larger picture."""
    names = {"share": "mean", "share_low": "low", "share_high": "high"}
    random = {f"random_share{end}": f"random{end}" for end in ("", "_low", "_high")}
    table = found[[*names, *random, "random_above"]].rename(names | random).to_dataframe().reset_index()
    table["set"] = [f"{kind} neurons, {way}" for kind, way in zip(table["kind"], table["direction"], strict=True)]
    table = table[["set", *ENDS, *random.values(), "random_above"]]
    order, title = table["set"].tolist(), "share of the gap"
    y = alt.Y("set:N", sort=order, title=None, axis=alt.Axis(domain=False, ticks=False, labelLimit=240))
    plain = alt.Chart(table).encode(y=y)
    span = plain.mark_bar(color=FAINT, height=9).encode(x=alt.X("random_low:Q", title=title), x2="random_high:Q")
    middle = plain.mark_tick(color=LINE, thickness=2, height=9).encode(x=alt.X("random:Q", title=title))
    rules = plain.mark_rule(color=TUNED, strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    points = plain.mark_point(color=TUNED, filled=True, size=55, opacity=1)
    points = points.encode(x=alt.X("mean:Q", title=title), tooltip=[*hover("set"), "random:Q", "random_above:Q"])
    return alt.layer(span, middle, zero("x"), rules, points).properties(width=280, height=alt.Step(20))


def compare_neurons(found: xr.Dataset) -> Any:
    """Overlap of the stages' sets (Jaccard), changed activations of their neurons, and what patching the sets moves.

    Intervals of 95 % over templates; chance of an overlap stands in the titles. At most 24 neurons a kind.
    """
    stages, kinds = found["stage"].values.tolist(), found["kind"].values.tolist()
    maps = [overlap(found.sel(kind=kind), stages).properties(title=small(overlap_title(found, kind))) for kind in kinds]
    parts = [changed(found, kind, stages) for kind in kinds]
    below = sets_panel(sets_of(found)).properties(title=small("Patched sets beside random ones"))
    rows = [alt.hconcat(*maps, spacing=26), alt.hconcat(*parts, spacing=26).resolve_scale(x="shared"), below]
    whole = alt.vconcat(*rows, spacing=20).resolve_scale(color="independent", y="independent")
    return themed(whole.properties(title="Entropy and frequency neurons of the stages"))


def overlap_title(found: xr.Dataset, kind: str) -> str:
    """What a map of overlaps is of."""
    return f"{kind}: overlap (chance {float(found['jaccard_by_chance'].sel(kind=kind)):.2f})"


def overlap(one: xr.Dataset, stages: list[str]) -> Any:
    """How many neurons two stages' sets share."""
    table = columns(one["jaccard"].to_dataframe().reset_index(), "stage", "other_stage", "jaccard")
    x = alt.X("stage:N", sort=stages, title=None, axis=alt.Axis(labelAngle=-40))
    y = alt.Y("other_stage:N", sort=stages, title=None)
    shown = ["stage", "other_stage", alt.Tooltip("jaccard:Q", format=".2f")]
    return cells(table, x, y, heat("jaccard", "Jaccard"), shown, step=34).properties(height=alt.Step(22))


def changed(found: xr.Dataset, kind: str, stages: list[str]) -> Any:
    """Mean activations minus the base's of one kind's neurons."""
    kept = found.isel(unit=np.flatnonzero(found["unit_kind"].values == kind)[:MOST_UNITS])
    kept = kept.assign_coords(unit=unit_names(kept)).isel(stage=slice(1, None))
    table = interval_table(kept, "activation_change", "stage", "unit")
    colour, title = (
        colours("stage", stages[1:], later_scale(stages[1:])),
        f"{kind} neurons: activation minus the base's",
    )
    order, later = kept["unit"].values.tolist(), stages[1:]
    drawn = dots(table, "unit", order, "change (no unit)", colour, offset="stage", offsets=later, width=220)
    return drawn.properties(title=small(title))
