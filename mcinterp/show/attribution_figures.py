"""Charts of attributions: signed bars of parts with their intervals, grafts both ways, and what a change is made of."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.direction.response import dose_response
from mcinterp.effects import effects, main_metric
from mcinterp.landmarks import final_distribution
from mcinterp.parts import mean_parts
from mcinterp.show.patch_figures import HEADER, panels
from mcinterp.show.theme import BASE, DIVERGING, LINE, MUTED, TUNED, part_scale, themed

BAR, MOST_BARS = 15, 60
KL_PARTS = {"temperature_kl": "temperature", "frequency_kl": "frequency", "reordering_kl": "reordering"}


def parts_bars(dataset: xr.Dataset, name: str = "attribution", *, along: str = "component", title: str) -> Any:
    """Mean of every part with its 95 % interval, one panel a stage; the panel's title says what they sum to.

    Where there are more than 60 parts, those largest in any stage are shown.
    """
    found = mean_parts(dataset, name, along=along)
    found = found if "stage" in found.dims else found.expand_dims(stage=["all prompts"])
    found = largest_first(found, along)
    titles = {
        stage: f"{stage}: {float(found['mean_total'].sel(stage=stage)):+.2f} nats" for stage in found["stage"].values
    }
    table = found[["mean", "low", "high", "share"]].to_dataframe().reset_index()
    table = table.assign(panel=[titles[stage] for stage in table["stage"]])
    table["site"] = table["site"] if "site" in table else table[along]
    order, sites = found[along].values.tolist(), list(dict.fromkeys(table["site"]))
    plain = alt.Chart(table).encode(x=alt.X(f"{along}:N", sort=order, title=None, axis=alt.Axis(labelAngle=-60)))
    colour = alt.Color("site:N", scale=part_scale(sites), sort=sites, title=None)
    tooltip = [along, *(alt.Tooltip(f"{each}:Q", format="+.3f") for each in ("mean", "low", "high", "share"))]
    bars = plain.mark_bar(size=BAR - 4).encode(y=alt.Y("mean:Q", title="nats"), color=colour, tooltip=tooltip)
    ends = plain.mark_rule(color=LINE).encode(y=alt.Y("low:Q"), y2="high:Q")
    sized = alt.layer(bars, ends).properties(width=alt.Step(BAR), height=170)
    facet = alt.Facet("panel:N", header=HEADER, sort=list(titles.values()))
    return themed(sized.facet(facet, columns=2).properties(title=title))


def largest_first(found: xr.Dataset, along: str) -> xr.Dataset:
    """The dataset itself, or its largest parts in their own order where there are too many to show."""
    if found.sizes[along] <= MOST_BARS:
        return found
    size = np.abs(found["mean"].transpose("stage", along).values).max(axis=0)
    return found.isel({along: np.sort(np.argsort(-size, kind="stable")[:MOST_BARS])})


def graft_bars(grafts: xr.Dataset) -> Any:
    """Share of the gap that every grafted group moves, both directions side by side, with 95 % intervals."""
    found = effects(grafts, main_metric(grafts))
    order, directions = found["component"].values.tolist(), found["direction"].values.tolist()
    titles = dict(zip(directions, panels(found), strict=True))
    table = found[["share", "share_low", "share_high"]].to_dataframe().reset_index()
    table = table.assign(panel=[titles[name] for name in table["direction"]])
    sites = list(dict.fromkeys(table["site"]))
    plain = alt.Chart(table).encode(x=alt.X("component:N", sort=order, title=None, axis=alt.Axis(labelAngle=-60)))
    tooltip = ["component", *(alt.Tooltip(f"{each}:Q", format=".3f") for each in ("share", "share_low", "share_high"))]
    colour = alt.Color("site:N", scale=part_scale(sites), sort=sites, title=None)
    bars = plain.mark_bar(size=BAR - 4).encode(
        y=alt.Y("share:Q", title="share of the gap"), color=colour, tooltip=tooltip
    )
    ends = plain.mark_rule(color=LINE).encode(y=alt.Y("share_low:Q"), y2="share_high:Q")
    sized = alt.layer(bars, ends).properties(width=alt.Step(BAR), height=170)
    facet = alt.Facet("panel:N", header=HEADER, sort=list(titles.values()))
    return themed(sized.facet(facet, columns=2).properties(title="How far one grafted group moves the recipient"))


def temperature_bars(split: xr.Dataset) -> Any:
    """KL(stage || base) at the output as temperature, frequency and reordering, one bar a stage (means, nats)."""
    final = final_distribution(split).sel(position=0)
    mean = final[list(KL_PARTS)].mean("prompt").rename(KL_PARTS)
    table = mean.to_array("part", name="kl").to_dataframe().reset_index()[["stage", "part", "kl"]]
    order = list(KL_PARTS.values())
    return themed(
        alt.Chart(
            table.assign(order=[order.index(part) for part in table["part"]]), title="What KL to the base is made of"
        )
        .mark_bar()
        .encode(
            y=alt.Y("stage:N", sort=mean["stage"].values.tolist(), title=None),
            x=alt.X("kl:Q", title="mean KL(stage || base), nats"),
            color=alt.Color(
                "part:N", sort=order, title=None, scale=alt.Scale(domain=order, range=[TUNED, "#E69F00", BASE])
            ),
            order="order:Q",
            tooltip=["stage", "part", alt.Tooltip("kl:Q", format=".3f")],
        )
        .properties(width=330, height=alt.Step(34))
    )


def screen_points(screen: xr.Dataset) -> Any:
    """Estimated against exact effects of the patches that were run, by direction; on the line they agree."""
    mean = screen[["estimate", "exact"]].mean("prompt").to_dataframe().reset_index()
    table = mean[mean["exact"].notnull()].drop(columns=["donor_stage", "recipient_stage"])
    far = float(max(np.nanmax(np.abs(table[name])) for name in ("estimate", "exact")))
    line = alt.Chart(alt.Data(values=[{"a": -far, "b": -far}, {"a": far, "b": far}])).mark_line(
        color=MUTED, strokeDash=[3, 3]
    )
    points = alt.Chart(table, title="Attribution patching beside exact patches").mark_point(filled=True, size=50)
    return themed(
        (
            line.encode(x="a:Q", y="b:Q")
            + points.encode(
                x=alt.X("exact:Q", title="exact effect (nats)"),
                y=alt.Y("estimate:Q", title="estimate (nats)"),
                color=alt.Color("site:N", scale=part_scale(list(dict.fromkeys(table["site"]))), title=None),
                shape=alt.Shape("direction:N", title=None),
                tooltip=[
                    "direction",
                    "site",
                    "layer",
                    alt.Tooltip("exact:Q", format="+.3f"),
                    alt.Tooltip("estimate:Q", format="+.3f"),
                ],
            )
        ).properties(width=300, height=230)
    )


def head_maps(heads: xr.Dataset) -> Any:
    """Induction and copying scores by layer and head, one map a stage and score."""
    names = {"induction_score": "induction", "copying_score": "copying"}
    table = heads[list(names)].rename(names).to_array("what", name="score").to_dataframe().reset_index()
    stages = heads["stage"].values.tolist()
    table = table.assign(panel=[f"{stage}: {what}" for stage, what in zip(table["stage"], table["what"], strict=True)])
    cells = (
        alt.Chart(table[["panel", "layer", "head", "score"]])
        .mark_rect()
        .encode(
            x=alt.X("head:O", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:O", sort="descending"),
            color=alt.Color("score:Q", scale=alt.Scale(scheme=DIVERGING, domain=[-1, 1], domainMid=0), title="score"),
            tooltip=["panel", "layer", "head", alt.Tooltip("score:Q", format=".3f")],
        )
        .properties(width=alt.Step(18), height=alt.Step(15))
    )
    order = [f"{stage}: {what}" for stage in stages for what in names.values()]
    return themed(cells.facet(alt.Facet("panel:N", header=HEADER, sort=order), columns=2).properties(title="Heads"))


def dose_lines(steered: xr.Dataset) -> Any:
    """Share of the entropy gap that each dose of the attractor direction moves, beside random directions (dashed)."""
    found = dose_response(steered, "entropy")
    operations = found["operation"].values.tolist()
    kept = {"direction": "share", "random direction": "random_share"}
    pieces = [found[name].to_dataframe("share").reset_index().assign(what=what) for what, name in kept.items()]
    table = pd.concat(pieces)[["operation", "coefficient", "share", "what"]]
    lines = (
        alt.Chart(table[np.isfinite(table["share"])])
        .mark_line(point=True)
        .encode(
            x=alt.X("coefficient:Q", title="dose"),
            y=alt.Y("share:Q", title="share of the entropy gap"),
            color=alt.Color("operation:N", sort=operations, scale=part_scale(operations), title=None),
            strokeDash=alt.StrokeDash("what:N", sort=list(kept), title=None),
            tooltip=["operation", "what", "coefficient", alt.Tooltip("share:Q", format=".3f")],
        )
        .properties(width=300, height=230, title="Dose and response of the attractor direction")
    )
    return themed(lines)


DRAWN = {
    "logits": lambda d: parts_bars(d, title="What writes the attractor's logit"),
    "update": lambda d: parts_bars(d, title="Which part of the update made the change"),
    "shapley": lambda d: parts_bars(d, "shapley", title="Shapley values of groups of weights"),
    "entropy_split": lambda d: parts_bars(
        d, "shapley", along="player", title="Where at the readout the entropy changed"
    ),
    "grafts": graft_bars,
    "temperature": temperature_bars,
    "screen": screen_points,
    "heads": head_maps,
    "direction": dose_lines,
}
