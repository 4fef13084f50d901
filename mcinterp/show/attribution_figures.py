"""Charts of attributions: signed bars of parts with intervals, what a change is made of, and estimated patches."""

from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.landmarks import final_distribution
from mcinterp.parts import mean_parts
from mcinterp.results import provenance_of
from mcinterp.show.attention_figures import head_scores
from mcinterp.show.direction_figures import steer
from mcinterp.show.graft_figures import graft_sweep
from mcinterp.show.marks import ENDS, HEADER, cells, columns, heat, hover, mean_table, signed
from mcinterp.show.theme import BASE, LINE, MUTED, REORDERED, TUNED, part_scale, themed

BAR, MOST_BARS, MOST_BESIDE = 15, 60, 30
KL_PARTS = {"temperature_kl": "temperature", "frequency_kl": "frequency", "reordering_kl": "reordering"}


def parts_bars(
    dataset: xr.Dataset, name: str = "attribution", *, along: str = "component", title: str, unit: str = "nats"
) -> Any:
    """Mean of every part with its 95 % interval over templates, one panel a stage, coloured by kind of weights.

    The panel's title says what the parts sum to, the subtitle by how much the sum misses the change at most. Where
    there are more than 60 parts, those largest in any stage are shown.
    """
    found = mean_parts(dataset, name, along=along)
    found = found if "stage" in found.dims else found.expand_dims(stage=["all prompts"])
    found = largest_first(found, along)
    titles = {
        stage: f"{stage}: {float(found['mean_total'].sel(stage=stage)):+.2f} {unit}" for stage in found["stage"].values
    }
    kept = found[["mean", "low", "high", "share"]].reset_coords(drop=True)
    table = kept.assign_coords(site=(along, site_of(found, along))).to_dataframe().reset_index()
    table = table.assign(panel=[titles[stage] for stage in table["stage"]])
    order, sites = found[along].values.tolist(), list(dict.fromkeys(table["site"]))
    plain = alt.Chart(table).encode(x=alt.X(f"{along}:N", sort=order, title=None, axis=alt.Axis(labelAngle=-60)))
    colour = alt.Color("site:N", scale=part_scale(sites), sort=sites, title=None)
    tooltip = [*hover(along), alt.Tooltip("share:Q", format=".3f")]
    bars = plain.mark_bar(size=BAR - 4).encode(y=alt.Y("mean:Q", title=unit), color=colour, tooltip=tooltip)
    ends = plain.mark_rule(color=LINE).encode(y=alt.Y("low:Q"), y2="high:Q")
    nothing = alt.Chart(table).mark_rule(color=MUTED).encode(y=alt.datum(0))
    sized = alt.layer(nothing, bars, ends).properties(width=alt.Step(BAR), height=170)
    facet = alt.Facet("panel:N", header=HEADER, sort=list(titles.values()))
    said = alt.TitleParams(title, subtitle=completeness(dataset), offset=10)
    return themed(sized.facet(facet, columns=2 if len(order) <= MOST_BESIDE else 1).properties(title=said))


def site_of(found: xr.Dataset, along: str) -> list[str]:
    """The kind of every part; of parts without one, themselves."""
    return [str(site) for site in found["site" if "site" in found.coords else along].values]


def completeness(dataset: xr.Dataset) -> str:
    """By how much the sum of the parts misses the whole change."""
    if "completeness_error" not in dataset:
        return "bars sum to the change"
    worst = float(dataset["completeness_error"].max())
    said = "0.01" if worst < 1e-4 else f"{100 * worst:.2g}"
    return f"bars sum to the change; the sum misses it by no more than {said} % in any prompt"


def largest_first(found: xr.Dataset, along: str) -> xr.Dataset:
    """The dataset itself, or its largest parts in their own order where there are too many to show."""
    if found.sizes[along] <= MOST_BARS:
        return found
    size = np.abs(found["mean"].transpose("stage", along).values).max(axis=0)
    return found.isel({along: np.sort(np.argsort(-size, kind="stable")[:MOST_BARS])})


def direct_logit_attribution(dataset: xr.Dataset) -> Any:
    """What each component writes of the attractor's logit against its reference (nats), in every stage."""
    return parts_bars(dataset, title="What writes the attractor's logit")


def update_attribution(dataset: xr.Dataset) -> Any:
    """The path integral of the metric's change over the update (its unit), by layer and kind of weights."""
    metric = str(provenance_of(dataset).get("metric", "metric")).replace("_", " ")
    return parts_bars(dataset, title=f"Which part of the update changed the {metric}")


def graft_shapley(dataset: xr.Dataset) -> Any:
    """The Shapley value of every group of weights for the change of the metric from base to tuned (its unit)."""
    return parts_bars(dataset, "shapley", title="Shapley values of groups of weights")


def entropy_split(dataset: xr.Dataset) -> Any:
    """What residual stream, scale, norm and unembedding each bring to the change at the readout (nats)."""
    return parts_bars(dataset, "shapley", along="player", title="Where at the readout the change arose")


def temperature_split(split: xr.Dataset) -> Any:
    """KL(stage || base) at the output (nats) as temperature, frequency and reordering: means, and of the whole its end.

    One bar a stage right after the prompt; the rule at its end is the 95 % interval of the whole over templates.
    """
    final = final_distribution(split).sel(position=0)
    stages, order = final["stage"].values.tolist(), list(KL_PARTS.values())
    mean = final[list(KL_PARTS)].mean("prompt").rename(KL_PARTS)
    table = mean.to_array("part", name="kl").to_dataframe().reset_index()[["stage", "part", "kl"]]
    table = table.assign(order=[order.index(part) for part in table["part"]])
    whole = mean_table(final["kl_stage_to_base"].reset_coords(drop=True).assign_coords(template=final["template"]))
    y, title = alt.Y("stage:N", sort=stages, title=None), "mean KL(stage || base), nats"
    colour = alt.Scale(domain=order, range=[TUNED, REORDERED, BASE])
    bars = alt.Chart(table).mark_bar().encode(
        y=y, x=alt.X("kl:Q", title=title), color=alt.Color("part:N", sort=order, title=None, scale=colour),
        order="order:Q", tooltip=["stage", "part", alt.Tooltip("kl:Q", format=".3f")],
    )  # fmt: skip
    ends = alt.Chart(whole[["stage", *ENDS]]).mark_rule(color=LINE, strokeWidth=2)
    ends = ends.encode(y=y, x=alt.X("low:Q", title=title), x2="high:Q", tooltip=hover("stage"))
    drawn = alt.layer(bars, ends).properties(width=330, height=alt.Step(34))
    return themed(drawn.properties(title="What KL to the base is made of"))


def attribution_patching(screen: xr.Dataset) -> Any:
    """Estimated beside exact effects of patches (nats), mean over prompts; where none was run, estimates by layer.

    One point a cell and direction, on the line where the two agree.
    """
    return screen_points(screen) if "exact" in screen else screen_map(screen)


def screen_points(screen: xr.Dataset) -> Any:
    """Estimated against exact effects of the patches that were run, by direction; on the line they agree."""
    mean = screen[["estimate", "exact"]].mean("prompt").to_dataframe().reset_index()
    names = [name for name in ("direction", "site", "layer", "head") if name in mean]
    table = mean.loc[mean["exact"].notnull(), [*names, "exact", "estimate"]]
    far = float(max(np.nanmax(np.abs(table[name])) for name in ("estimate", "exact")))
    ends = alt.Chart(pd.DataFrame({"a": [-far, far], "b": [-far, far]}))
    line = ends.mark_line(color=MUTED, strokeDash=[3, 3]).encode(x="a:Q", y="b:Q")
    sites = list(dict.fromkeys(table["site"]))
    points = alt.Chart(table).mark_point(filled=True, size=55, opacity=0.9).encode(
        x=alt.X("exact:Q", title="exact effect (nats)"), y=alt.Y("estimate:Q", title="estimate (nats)"),
        color=alt.Color("site:N", scale=part_scale(sites), sort=sites, title=None),
        shape=alt.Shape("direction:N", title=None, sort=screen["direction"].values.tolist()),
        tooltip=hover(*names, digits="+.3f", ends=("exact", "estimate")),
    )  # fmt: skip
    title = "Attribution patching beside exact patches"
    return themed(alt.layer(line, points).properties(width=300, height=230, title=title))


def screen_map(screen: xr.Dataset) -> Any:
    """Estimated effects by layer and site, both directions; of heads the one with the largest effect."""
    mean = screen["estimate"].mean("prompt")
    mean = mean.isel(head=abs(mean).fillna(-1.0).argmax("head")) if "head" in mean.dims else mean
    table = columns(mean.to_dataframe("estimate").reset_index(), "direction", "site", "layer", "estimate")
    x = alt.X("site:N", sort=screen["site"].values.tolist(), title=None, axis=alt.Axis(labelAngle=-40))
    y = alt.Y("layer:O", sort="descending", title="layer")
    colour = heat("estimate", "estimate (nats)", signed(table["estimate"]))
    shown = ["direction", "site", "layer", alt.Tooltip("estimate:Q", format="+.3f")]
    facet = alt.Facet("direction:N", header=HEADER, sort=screen["direction"].values.tolist())
    drawn = cells(table, x, y, colour, shown, step=34).facet(facet, columns=2)
    return themed(drawn.properties(title="Attribution patching: estimated effects of patches"))


DRAWN: dict[str, Callable[[xr.Dataset], Any]] = {
    "logits": direct_logit_attribution,
    "update": update_attribution,
    "shapley": graft_shapley,
    "entropy_split": entropy_split,
    "grafts": graft_sweep,
    "temperature": temperature_split,
    "screen": attribution_patching,
    "heads": head_scores,
    "direction": steer,
}
