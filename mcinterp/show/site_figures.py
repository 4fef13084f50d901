"""Pictures of single parts of a location: the gate, the evidence, pairs of sites, positions, and the verification."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.show.locate_figures import (
    KINDS,
    MOST_ROWS,
    WAYS,
    evidence_panel,
    position_map,
    ranking_panel,
    verification_bars,
)
from mcinterp.show.marks import (
    ENDS,
    cells,
    colours,
    columns,
    dots,
    heat,
    hover,
    known,
    mean_table,
    shortened,
    signed,
    small,
)
from mcinterp.show.theme import BASE, FAINT, MUTED, TUNED, site_scale, themed
from mcinterp.verification.table import verification_table as tabled

MEANINGS = {"collapsed": "collapsed", "kept": "not collapsed"}


def gate(table: xr.Dataset) -> Any:
    """Entropy (nats) of every prompt in the tuned stage against the base's; collapsed prompts in the tuned colour.

    On the dashed line nothing is lost; a point is as large as KL(tuned || base).
    """
    names = ["entropy_base", "entropy_tuned", "kl_tuned_to_base", "top_probability"]
    rows = pd.DataFrame({name: table[name].values.astype(float) for name in names if name in table})
    said = np.where(table["collapsed"].values.astype(bool), MEANINGS["collapsed"], MEANINGS["kept"])
    rows = rows.assign(what=said, prompt=[shortened(str(text), 60) for text in table["text"].values])
    far = 1.05 * float(rows[["entropy_base", "entropy_tuned"]].to_numpy().max())
    scale = alt.Scale(domain=[0, far], nice=False)
    line = alt.Chart(pd.DataFrame({"a": [0.0, far], "b": [0.0, far]})).mark_line(color=MUTED, strokeDash=[3, 3])
    order = list(MEANINGS.values())
    points = alt.Chart(rows).mark_point(filled=True, opacity=0.75).encode(
        x=alt.X("entropy_base:Q", title="entropy in the base (nats)", scale=scale, axis=alt.Axis(tickCount=6)),
        y=alt.Y("entropy_tuned:Q", title="entropy in the tuned stage (nats)", scale=scale, axis=alt.Axis(tickCount=6)),
        color=colours("what", order, alt.Scale(domain=order, range=[TUNED, BASE])),
        size=alt.Size("kl_tuned_to_base:Q", title="KL(tuned || base), nats", scale=alt.Scale(range=[25, 220])),
        tooltip=hover("prompt", "what", ends=[n for n in names if n in rows]),
    )  # fmt: skip
    count = int(table["collapsed"].sum())
    title = f"{count} of {table.sizes['prompt']} prompts have collapsed"
    drawn = alt.layer(line.encode(x=alt.X("a:Q"), y=alt.Y("b:Q")), points)
    return themed(drawn.properties(width=270, height=270, title=title))


def evidence(found: xr.Dataset) -> Any:
    """What every kind of evidence says of every component: nats of log-odds towards the collapse, mean over prompts.

    At most 16 components, the largest path integral of the update on top; the first three columns are what counts.
    """
    kinds = {name: said for name, said in KINDS.items() if name in found}
    order = np.argsort(-found["update"].mean("prompt").fillna(-np.inf).values, kind="stable")[:MOST_ROWS]
    kept = found.isel(component=order)
    parts = [mean_table(kept[name].reset_coords(drop=True).assign_coords(template=kept["template"]), kind=said)
             for name, said in kinds.items()]  # fmt: skip
    table = known(columns(pd.concat(parts), "component", "kind", *ENDS))
    table["words"] = [f"{round(value, 1) + 0.0:.1f}" for value in table["mean"]]
    axis = alt.Axis(labelAngle=-40, orient="bottom")
    x = alt.X("kind:N", sort=list(kinds.values()), title=None, axis=axis)
    y = alt.Y("component:N", sort=kept["component"].values.tolist(), title=None)
    scale = signed(table["mean"])
    boxes = cells(table, x, y, heat("mean", "log-odds (nats)", scale), hover("component", "kind"), step=38)
    far = 0.6 * float(scale.to_dict()["domain"][1])
    ink = alt.condition(f"abs(datum.mean) > {far:.3g}", alt.value("white"), alt.value("black"))
    words = alt.Chart(table).mark_text(fontSize=10).encode(x=x, y=y, text="words:N", color=ink)
    whole = float(found["log_odds_gap"].mean())
    title = f"Evidence in nats, of a change of {whole:+.1f} in the attractor's log-odds"
    drawn = alt.layer(boxes, words).properties(width=alt.Step(38), height=alt.Step(18))
    return themed(drawn.properties(title=title))


def site_scores(sites: xr.Dataset) -> Any:
    """Shares of the collapse of the best components with 95 % intervals over templates, beside what each kind says.

    The first three columns of the map are what the score weighs.
    """
    left = ranking_panel(sites).properties(title=small("Share of the collapse"))
    right = evidence_panel(sites).properties(title=small("What each kind of evidence says"))
    whole = alt.hconcat(left, right, spacing=24).resolve_scale(color="independent")
    return themed(whole.properties(title="Sites of the collapse"))


def pair_evidence(found: xr.Dataset) -> Any:
    """What exchanging the weights of two components together undoes and brings: nats of log-odds, one row a pair.

    Dots are means over prompts with 95 % intervals over templates; the largest sum on top.
    """
    kinds = {name: f"{said} it" for name, said in WAYS.items()}
    table = pd.concat([mean_table(found[name], what=said) for name, said in kinds.items()])
    table = columns(table, "pair", "what", *ENDS)
    total = (found["necessity"] + found["sufficiency"]).mean("prompt").values
    order = found["pair"].values[np.argsort(-total, kind="stable")].tolist()
    names = list(kinds.values())
    drawn = dots(
        table, "pair", order, "attractor's log-odds (nats, towards the collapse)",
        colours("what", names, site_scale(names)), offset="what", offsets=names,
    )  # fmt: skip
    return themed(drawn.properties(title="Two sites exchanged together"))


def by_position(positions: xr.Dataset) -> Any:
    """What patching each named site at a single position undoes and brings, mean over prompts (nats)."""
    return position_map(positions)


def verify(found: xr.Dataset) -> Any:
    """The share of the lost entropy that every edit brings back, and what it costs elsewhere.

    With 95 % intervals over templates; see `verification_table`, which this computes first.
    """
    return verification_table(tabled(found))


def verification_table(table: xr.Dataset) -> Any:
    """The share of the lost entropy that every edit brings back, on locating and held-out prompts, with intervals.

    The base's weights in the chosen sites beside random sites and a plain temperature; below, where there are control
    prompts, KL(tuned || edit) on what must stay (nats).
    """
    if "control_kl" not in table:
        return verification_bars(table)
    return verification_bars(table, beside=control_panel(table))


def control_panel(table: xr.Dataset) -> Any:
    """What every edit does to the answers that must stay."""
    kept = table.sel(edit=[name for name in table["edit"].values if name not in ("tuned", "base")])
    rows = kept[["control_kl", "control_kl_low", "control_kl_high"]].reset_coords(drop=True)
    rows = rows.rename(control_kl="mean", control_kl_low="low", control_kl_high="high").to_dataframe().reset_index()
    order, title = rows["edit"].tolist(), "KL(tuned || edit) on control prompts (nats)"
    plain = alt.Chart(rows).encode(y=alt.Y("edit:N", sort=order, title=None))
    bars = plain.mark_bar(color=FAINT, size=9).encode(x=alt.X("mean:Q", title=title), tooltip=hover("edit"))
    ends = plain.mark_rule().encode(x=alt.X("low:Q", title=title), x2="high:Q")
    return alt.layer(bars, ends).properties(width=320, height=alt.Step(15), title=small("What it costs elsewhere"))
