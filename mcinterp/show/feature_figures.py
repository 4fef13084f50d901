"""Pictures of a sparse autoencoder's features: which differ, which matter, and what sets of them move."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.features.curve import feature_curve as curve_of
from mcinterp.results import provenance_of
from mcinterp.show.marks import colours, dots, interval_table, known, lines, small, zero
from mcinterp.show.theme import MUTED, part_scale, site_scale, stage_scale, themed

MOST_FEATURES, MOST_POINTS = 16, 200
RULES = "sets: the solid rule is the plain patch of the whole place, the dotted one all its features"
SETS = {
    "share": "features, best first",
    "random_features": "as many other active ones",
    "random_direction": "a random step as long",
}
WAYS = {"estimate": "first-order estimate", "feature_effect": "really patched"}
METRICS = {"attractor_log_odds": "attractor's log-odds", "attractor_log_prob": "its log-probability"}


def compare_features(found: xr.Dataset) -> Any:
    """Each feature's share of the difference between the stages, and what patching it alone does, in nats.

    At most the 16 features of the largest effect, largest on top, with 95 % intervals over templates. Below, estimate
    against real patch where both are known; the dashed line is equality. The subtitle says what the autoencoder
    explains of each stage and what no feature holds of the difference.
    """
    title = alt.TitleParams("Features that carry the difference", subtitle=holds(found))
    whole = alt.vconcat(compared_panels(found), agreement(found), spacing=18)
    return themed(whole.properties(title=title))


def sae_features(compared: xr.Dataset, patched: xr.Dataset) -> Any:
    """Features that carry the difference, above what sets of them move on other prompts."""
    title = alt.TitleParams("Features of a sparse autoencoder between the stages", subtitle=[*holds(compared), RULES])
    below = curve_panels(curve_of(patched, "attractor_log_odds"), "attractor_log_odds")
    return themed(alt.vconcat(compared_panels(compared), below, spacing=24).properties(title=title))


def compared_panels(found: xr.Dataset) -> Any:
    """Shares of the difference, and in each direction what the same features do."""
    names = effect_order(found)
    stages = found["stage"].values.tolist()[1:]
    kept = found.sel(feature=names).assign_coords(feature=[str(name) for name in names])
    order = kept["feature"].values.tolist()
    share = interval_table(kept.sel(stage=stages), "difference_share", "stage", "feature")
    colour = colours("stage", stages, stage_scale(stages), orient="bottom")
    left = dots(
        known(share), "feature", order, "share of the difference", colour, offset="stage",
        offsets=stages, width=190,
    )  # fmt: skip
    panels = [left.properties(title=small(f"difference from {found['stage'].values[0]}"))]
    for number, direction in enumerate(found["direction"].values.tolist()):
        panels.append(effects_panel(kept.sel(direction=direction), order, direction, legend=number == 0))
    return alt.hconcat(*panels, spacing=18).resolve_scale(color="independent")


def effect_order(found: xr.Dataset) -> list[int]:
    """The features that are shown: those that were really patched, else those of the largest share."""
    size = abs(found["feature_effect"]).max("direction").fillna(-1.0).values
    share = np.nan_to_num(abs(found["difference_share"]).max("stage").values)
    return np.lexsort((-share, -size))[:MOST_FEATURES].tolist()


def effects_panel(kept: xr.Dataset, order: list[str], direction: str, *, legend: bool) -> Any:
    """Estimate and real effect of the shown features in one direction."""
    table = pd.concat([interval_table(kept, name, "feature", what=said) for name, said in WAYS.items()])
    kinds = list(WAYS.values())
    colour = colours("what", kinds, site_scale(kinds), orient="bottom", legend=legend)
    metric = str(provenance_of(kept).get("metric", "attractor_log_odds"))
    drawn = dots(
        known(table), "feature", order, f"change of {METRICS.get(metric, metric)} (nats)", colour, offset="what",
        offsets=kinds, width=230, named=False,
    )  # fmt: skip
    return drawn.properties(title=small(direction))


def agreement(found: xr.Dataset) -> Any:
    """Estimate against real effect of every feature that was patched, a point a feature and direction."""
    table = found[["estimate", "feature_effect"]].to_dataframe().reset_index()
    table = pd.DataFrame(table[["direction", "feature", "estimate", "feature_effect"]]).dropna().head(MOST_POINTS)
    far = float(np.max(np.abs(np.asarray(table[["estimate", "feature_effect"]], dtype=float)), initial=1e-3))
    ends = pd.DataFrame({"at": [-far, far]})
    line = alt.Chart(ends).mark_line(color=MUTED, strokeDash=[3, 3]).encode(x="at:Q", y="at:Q")
    ways = found["direction"].values.tolist()
    points = alt.Chart(table).mark_point(filled=True, size=45, opacity=0.8).encode(
        x=alt.X("estimate:Q", title="first-order estimate (nats)"),
        y=alt.Y("feature_effect:Q", title="really patched (nats)"),
        color=colours("direction", ways, part_scale(ways)),
        tooltip=["direction", "feature", alt.Tooltip("estimate:Q", format=".3f"),
                 alt.Tooltip("feature_effect:Q", format=".3f")],
    )  # fmt: skip
    return alt.layer(line, points).properties(width=190, height=150)


def holds(found: xr.Dataset) -> list[str]:
    """What the autoencoder explains of each stage, and what no feature holds of the difference."""
    explained, error = found["explained_variance"].to_series(), found["error_share"].to_series().dropna()
    said = [", ".join(f"{value:.2f} of {name}" for name, value in explained.items())]
    rest = ", ".join(f"{value:.2f} ({name})" for name, value in error.items())
    return [f"variance explained: {said[0]}", f"of the difference, not in any feature: {rest or 'no difference'}"]


def patch_features(patched: xr.Dataset) -> Any:
    """Share of the gap in the attractor's log-odds and in entropy that growing sets of features move, by direction.

    Bands are 95 % intervals over templates. Rules: the plain patch of the whole place, and all features with the
    error kept. See `feature_curve`.
    """
    panels = [curve_panels(curve_of(patched, metric), metric) for metric in ("attractor_log_odds", "entropy")]
    title = alt.TitleParams("What sets of features move", subtitle=RULES)
    return themed(alt.vconcat(*panels, spacing=22).properties(title=title))


def feature_curve(found: xr.Dataset) -> Any:
    """Share of the gap that growing sets of features move, beside as many others and a random step as long.

    Bands are 95 % intervals over templates; the solid rule is the plain patch of the whole place, the dotted one all
    features with the error kept.
    """
    metric = str(provenance_of(found).get("metric", "attractor_log_odds"))
    title = alt.TitleParams("What sets of features move", subtitle=RULES)
    return themed(curve_panels(found, metric).properties(title=title))


def curve_panels(found: xr.Dataset, metric: str) -> Any:
    """One metric; a panel a direction, a line a kind of set, sizes on a logarithmic axis with 0 at its beginning."""
    title = f"share of the gap in {METRICS.get(metric, metric)}"
    ways = found["direction"].values.tolist()
    return alt.hconcat(*(curve_panel(found.sel(direction=way), way, title) for way in ways), spacing=22).resolve_scale(
        y="shared"
    )


def curve_panel(found: xr.Dataset, way: str, title: str) -> Any:
    """One direction."""
    kinds = list(SETS.values())
    table = known(pd.concat([interval_table(found, name, "size", what=said) for name, said in SETS.items()]))
    table["what"] = table["what"].astype(str)
    sizes = [int(size) for size in found["size"].values]
    x = alt.X("size:O", title="features patched together", sort=sizes, axis=alt.Axis(labelAngle=0, grid=False))
    drawn = lines(table, x, title, colours("what", kinds, site_scale(kinds), orient="bottom"), shown=("size", "what"))
    rules = [rule(found, name, dash) for name, dash in (("site", [1, 0]), ("features", [2, 2]))]
    return alt.layer(zero("y"), *rules, drawn).properties(width=230, height=180, title=small(way))


def rule(found: xr.Dataset, whole: str, dash: list[int]) -> Any:
    """A level across the panel: what the whole place, or all of its features, move."""
    at = pd.DataFrame({"at": [float(found["whole_share"].sel(whole=whole))], "of": [whole]}).dropna()
    return alt.Chart(at).mark_rule(color=MUTED, strokeDash=dash).encode(y="at:Q", tooltip=["of:N", alt.Tooltip("at:Q")])
