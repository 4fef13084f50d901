"""The verdict in words."""

from typing import Any

import numpy as np
import xarray as xr

from mcinterp.localisation.verdict import DISTRIBUTED, JOINT, LOCALISED, NONE, REDUNDANT, Verdict

KINDS: dict[str, tuple[str, ...]] = {
    "attribution of the update": ("update",),
    "grafts": ("graft_necessity", "graft_sufficiency"),
    "patches": ("patch_necessity", "patch_sufficiency"),
}


def said_of(answer: Verdict, gate: dict[str, Any], scores: xr.Dataset | None, upstream: bool) -> str:
    """The verdict as a few sentences with its figures."""
    fell = (
        f"entropy {gate['entropy_base']:.2f} to {gate['entropy_tuned']:.2f} nats, KL(tuned || base) "
        f"{gate['kl_tuned_to_base']:.2f} nats, {gate['n_collapsed']} of {gate['n_prompts']} prompts collapsed"
    )
    if answer.name == NONE or scores is None:
        return f"No collapse on these prompts: {fell}."
    where = " It acts upstream of the positions that are read." if upstream else ""
    return f"{SENTENCES[answer.name](answer, scores)} ({fell}.){where}{disagreement(answer, scores)}"


def localised(answer: Verdict, scores: xr.Dataset) -> str:
    """One site."""
    site = answer.sites[0]
    n, s = shares(scores, site)
    return f"Localised: {site}. The base's weights there undo {n} of the collapse, and tuned ones alone bring {s}."


def redundant(answer: Verdict, scores: xr.Dataset) -> str:
    """Two sites, one of which is enough."""
    (a, b), each = answer.sites, [shares(scores, site) for site in answer.sites]
    return (
        f"Two redundant sites: {a} and {b}. Each brings the collapse alone ({each[0][1]} and {each[1][1]}), and "
        f"undoing one leaves most of it (undone: {each[0][0]} and {each[1][0]})."
    )


def joint(answer: Verdict, scores: xr.Dataset) -> str:
    """Two sites, both needed."""
    (a, b), each = answer.sites, [shares(scores, site) for site in answer.sites]
    return (
        f"Two sites that need each other: {a} and {b}. Undoing either undoes the collapse ({each[0][0]} and "
        f"{each[1][0]}), and neither brings it alone ({each[0][1]} and {each[1][1]})."
    )


def distributed(answer: Verdict, scores: xr.Dataset) -> str:
    """No site, and no pair of sites, makes it."""
    largest = [f"{site} {percent(scores['score'].sel(component=site))}" for site in answer.sites]
    return f"Spread out: no single site makes it, and no two act as one. The largest shares are {', '.join(largest)}."


SENTENCES = {LOCALISED: localised, REDUNDANT: redundant, JOINT: joint, DISTRIBUTED: distributed}


def shares(scores: xr.Dataset, site: str) -> tuple[str, str]:
    """What grafts of a site undo and bring."""
    one = scores.sel(component=site)
    return percent(one["graft_necessity_share"]), percent(one["graft_sufficiency_share"])


def percent(share: Any) -> str:
    """A share as a whole percentage."""
    return f"{round(100 * float(share))} %"


def disagreement(answer: Verdict, scores: xr.Dataset) -> str:
    """What a kind of evidence puts first that the verdict does not name; nothing where they agree."""
    said = []
    for kind, names in KINDS.items():
        mean = xr.concat([scores[f"{name}_share"] for name in names], dim="kind").mean("kind")
        first = str(mean["component"].values[int(np.argmax(mean.fillna(-np.inf).values))])
        if first not in answer.sites:
            said.append(f"{kind} put {first} first ({percent(mean.sel(component=first))})")
    return f" Evidence disagrees: {'; '.join(said)}." if said else ""
