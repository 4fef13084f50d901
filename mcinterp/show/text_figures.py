"""Pictures of what stages write: samples, attractors, and texts written while a patch is held."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr

from mcinterp.results import provenance_of
from mcinterp.show.figures import visible
from mcinterp.show.marks import (
    ENDS,
    HEADER,
    LAYERS,
    colours,
    columns,
    dots,
    hover,
    interval_table,
    known,
    lines,
    mean_table,
    small,
)
from mcinterp.show.theme import INK, PAPER, site_scale, stage_scale, themed

MOST_CANDIDATES = 20
ASKED, RANDOM = "donor's activation", "random change of equal size"


def samples(written: xr.Dataset) -> Any:
    """What stages write: different texts, ended texts and surprise under the base, and the entropy along the texts.

    Means over prompts with 95 % intervals over templates; shares of the samples of a prompt, nats a token, nats.
    Entropy and surprise are left out of samples that were not scored.
    """
    stages = written["stage"].values.tolist()
    scale, panels = stage_scale(stages), []
    figures = {
        "different texts (share)": distinct(written),
        "ended (share)": written["ended"].astype(float).mean("sample"),
    }
    shares = pd.concat([mean_table(values, what=what) for what, values in figures.items()])
    colour = colours("stage", stages, scale)
    size: dict[str, Any] = {"offset": "stage", "offsets": stages, "width": 190}
    panels.append(
        dots(
            columns(shares, "stage", "what", *ENDS),
            "what",
            list(figures),
            "share",
            colour,
            scale=alt.Scale(domain=[0, 1]),
            **size,
        )
    )
    if "base_log_prob" in written:
        nll = {"surprise under the base": -written["base_log_prob"].mean("step").mean("sample")}
        nll["surprise under the stage"] = -written["written_log_prob"].mean("step").mean("sample")
        table = pd.concat([mean_table(values, what=what) for what, values in nll.items()])
        panels.append(dots(columns(table, "stage", "what", *ENDS), "what", list(nll), "nats a token", colour, **size))
        along = mean_table(written["written_entropy"].mean("sample"))
        along = along.assign(token=along["step"] + 1)
        x = alt.X("token:Q", title="token of the text", axis=alt.Axis(tickMinStep=1, grid=False))
        curve = lines(
            known(columns(along, "stage", "token", *ENDS)), x, "entropy (nats)", colour, shown=["stage", "token"]
        )
        panels = [
            alt.vconcat(*panels, spacing=14),
            curve.properties(title=small("Entropy that tokens were drawn from")),
        ]
    warmth = provenance_of(written).get("temperature")
    title = f"{written.sizes['sample']} samples of {written.sizes['prompt']} prompts"
    title += "" if warmth is None else f" at temperature {warmth:g}"
    return themed(alt.hconcat(*panels, spacing=30).properties(title=title))


def distinct(written: xr.Dataset) -> xr.DataArray:
    """The share of different texts among the samples of every prompt."""
    texts = written["completion"].transpose("stage", "prompt", "sample")
    share = [[len(set(each.tolist())) / len(each) for each in stage] for stage in texts.values]
    return texts.isel(sample=0, drop=True).copy(data=np.asarray(share, dtype=float))


def attractors(found: xr.Dataset) -> Any:
    """Openings and phrases that gained most: their probability in every stage, with 95 % intervals over templates.

    The mean over held-out prompts: exact for openings, the share of samples for phrases. Hollow: not confirmed. At most
    20, the largest gain on top; a sentence where none was found.
    """
    stages, some = found["stage"].values.tolist(), found.isel(candidate=slice(0, MOST_CANDIDATES))
    if not some.sizes["candidate"]:
        said = alt.Chart(pd.DataFrame({"said": ["nothing became much likelier than in the base"]}))
        text = said.mark_text(align="left", fontSize=12, color=INK).encode(
            text="said:N", x=alt.value(0), y=alt.value(10)
        )
        return themed(text.properties(title="Attractors", width=320, height=20))
    named = [
        f"{kind}: “{visible(str(text))}”" for kind, text in zip(some["kind"].values, some["text"].values, strict=True)
    ]
    some = some.assign_coords(candidate=named)
    table = interval_table(some, "probability", "candidate", "stage")
    table["confirmed"] = some["confirmed"].to_dataframe().reset_index()["confirmed"]
    drawn = dots(
        table, "candidate", named, "probability (held-out prompts)", colours("stage", stages, stage_scale(stages)),
        offset="stage", offsets=stages, limit=330, scale=alt.Scale(domain=[0, 1]), shown=["confirmed"],
    )  # fmt: skip
    open_ = table[(table["confirmed"] == 0) & (table["stage"] != stages[0])]
    holes = alt.Chart(open_).mark_point(filled=True, size=11, opacity=1).encode(
        x="mean:Q", y=alt.Y("candidate:N", sort=named), yOffset=alt.YOffset("stage:N", sort=stages),
        color=alt.value(PAPER),
    )  # fmt: skip
    drawn = drawn + holes if len(open_) else drawn
    return themed(drawn.properties(title="Attractors: openings and phrases that gained most"))


def generate_patched(held: xr.Dataset) -> Any:
    """Share of texts that leave the unpatched recipient's while a patch is held, by layer and site, both directions.

    Means over prompts with 95 % intervals over templates; dashed: a random change of the same size. Of single heads the
    one is shown that moves most texts.
    """
    return themed(held_panels(held).properties(title="Texts that leave the unpatched one while a patch is held"))


def held_panels(held: xr.Dataset) -> Any:
    """The same as a part of a larger picture."""
    table, sites = held_table(held), held["site"].values.tolist()
    colour = colours("site", sites, site_scale(sites))
    dash = alt.StrokeDash("what:N", scale=alt.Scale(domain=[ASKED, RANDOM], range=[[1, 0], [4, 3]]), title=None)
    plain = alt.Chart().encode(x=alt.X("layer:Q", title="layer", axis=LAYERS), color=colour)
    y = alt.Y("mean:Q", title="share of texts", scale=alt.Scale(domain=[0, 1]))
    own = plain.transform_filter(alt.datum.what == ASKED)
    band = own.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title="share of texts"), y2="high:Q")
    points = own.mark_point(filled=True, size=34, opacity=1).encode(y=y, tooltip=hover("site", "layer", "what"))
    layered = alt.layer(band, plain.mark_line().encode(y=y, strokeDash=dash), points, data=table)
    facet = alt.Facet("direction:N", header=HEADER, sort=held["direction"].values.tolist())
    return layered.properties(width=280, height=190).facet(facet, columns=2)


def held_table(held: xr.Dataset) -> pd.DataFrame:
    """One row a direction, site, layer, and kind of patch."""
    left = held["left_at"].notnull().astype(float).mean("sample")
    if "head" in left.dims:
        left = left.sel(head=left.mean("prompt").idxmax("head"))
    keys = ["direction", "site", "layer", "what", *ENDS]
    parts = [mean_table(left, what=ASKED)[keys]]
    if "left_at_control" in held and "random" in held["control"].values:
        random = held["left_at_control"].sel(control="random", drop=True).notnull().astype(float).mean("sample")
        random = random.mean("head") if "head" in random.dims else random
        parts.append(mean_table(random, what=RANDOM)[keys])
    return columns(pd.concat(parts, ignore_index=True), *keys)
