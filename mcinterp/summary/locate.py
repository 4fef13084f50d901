"""What locating a collapse shows."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from mcinterp.localisation.evidence import KINDS
from mcinterp.localisation.locating import Located
from mcinterp.verification.table import verification_table

ENDS = ("_low", "_high")


def locate_summary(found: Located) -> dict[str, Any]:
    """The verdict, the candidate sites best first, the gate with its figures, and what the verification regained.

    Scores are shares of the collapse in log-odds. `located` holds whole sites, and attention heads beside them where
    they were asked for.
    """
    verified = found.verification
    return {
        "verdict": found.verdict,
        "said": found.said,
        "named": list(found.named),
        "upstream": found.upstream,
        "interaction": found.interaction,
        "support": found.support,
        "located": located(found),
        "gate": gate_summary(found),
        "verification": None if verified is None else verification_summary(verified),
    }


def gate_summary(found: Located) -> dict[str, Any]:
    """Where it is read and the figures there; under `tried`, those of every place that was looked at."""
    return {"at": found.gate.at, **found.gate.figures, "tried": found.gate.tried}


def located(found: Located) -> list[dict[str, Any]]:
    """Whole sites, and heads where there are some, best first."""
    if found.sites is None:
        return []
    entries = entries_of(found.sites)
    if found.heads is not None:
        entries += entries_of(found.heads.sel(component=found.heads["head"] >= 0))
    return sorted(entries, key=lambda entry: -entry["score"])


def entries_of(scores: xr.Dataset) -> list[dict[str, Any]]:
    """Every component as a plain entry."""
    entries = []
    for name in scores["component"].values.tolist():
        one = scores.sel(component=name)
        layer, head = int(one["layer"]), int(one["head"])
        entries.append(
            {
                "site": str(one["site"].item()),
                "layer": None if layer < 0 else layer,
                "head": None if head < 0 else head,
                "component": name,
                **{key: float(one[key]) for key in ("score", "ci_low", "ci_high")},
                "evidence": {kind: float(one[f"{kind}_share"]) for kind in KINDS},
            }
        )
    return entries


def step_summary(names: Sequence[str], found: Located) -> dict[str, Any]:
    """One step of a chain: from which stage to which, the verdict, and the first sites."""
    return {
        "from_stage": names[0],
        "stage": names[1],
        "verdict": found.verdict,
        "said": found.said,
        "named": list(found.named),
        "upstream": found.upstream,
        "located": located(found)[:5],
        "gate": gate_summary(found),
    }


def verification_summary(verified: xr.Dataset) -> dict[str, Any]:
    """What each edit regains on locating and held-out prompts, with intervals, and what it costs on the controls.

    Of the random sets, their mean stands under `random`.
    """
    table = verification_table(verified)
    return {
        **{name: value for name, value in table.attrs.items() if name != "provenance"},
        "parts": {part: edits_of(table.sel(part=part)) for part in table["part"].values.tolist()},
    }


def edits_of(table: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Every edit as a plain entry; the random sets as one."""
    kinds = table["kind"].values.tolist()
    single = [name for name, kind in zip(table["edit"].values.tolist(), kinds, strict=True) if kind != "random"]
    entries = {name: entry_of(table.sel(edit=name)) for name in single}
    random = table.isel(edit=[i for i, kind in enumerate(kinds) if kind == "random"])
    if random.sizes["edit"]:
        mean = {str(name): float(random[name].mean()) for name in random.data_vars if not str(name).endswith(ENDS)}
        entries["random"] = {**mean, "sites": "", "n_sets": random.sizes["edit"]}
    return entries


def entry_of(edit: xr.Dataset) -> dict[str, Any]:
    """One edit: its sites and temperature, and every figure with the ends of its interval."""
    figures = {str(name): float(edit[name]) for name in edit.data_vars}
    return {"sites": str(edit["sites"].item()), "temperature": float(edit["temperature"]), **figures}
