"""What weights show: base weights put back, and the attribution of the update; a table of figures a function."""

import numpy as np
import xarray as xr

import mcinterp
from planted.tasks import Figures, Planted, mean


def verified(one: Planted) -> Figures:
    """What base weights in the true sites give back and cost, beside random sites and a temperature."""
    if not one.task.truth:
        return {}
    found = mcinterp.verify(one.chain, one.sequences, one.sites, regain=1.0, samples=4, random_sets=8)
    chosen = found.sel(edit=f"{len(one.sites)} site{'s' if len(one.sites) > 1 else ''}")
    entropy, kinds = found["entropy"].mean("prompt"), found["kind"]
    tuned, lost = float(entropy.sel(edit="tuned")), found.attrs["lost_entropy"]
    figures = {
        "entropy back, true sites": (float(chosen["entropy"].mean()) - tuned) / lost,
        "KL to the base, true sites (nats)": mean(chosen["kl_to_base"]),
        "KL on the controls, true sites (nats)": cost(chosen),
    }
    for kind in ("random", "temperature"):
        rows = found.isel(edit=np.flatnonzero(kinds.values == kind))
        if rows.sizes["edit"]:
            figures[f"entropy back, {kind}"] = (mean(rows["entropy"]) - tuned) / lost
            figures[f"KL to the base, {kind} (nats)"] = mean(rows["kl_to_base"])
            figures[f"KL on the controls, {kind} (nats)"] = cost(rows)
    return figures


def cost(rows: xr.Dataset) -> float:
    """KL to the tuned stage on the controls, where there are some."""
    return mean(rows["control_kl"]) if "control_kl" in rows else float("nan")


def update(one: Planted) -> Figures:
    """How far from complete the path integral is, and what the true components have of the change."""
    found = mcinterp.update_attribution(one.chain, one.sequences, beyond="missing").isel(stage=0)
    share = found["attribution"].mean("prompt") / found["total"].mean("prompt")
    shapley = mcinterp.graft_shapley(one.chain, one.sequences, orders=4)["shapley"].mean("prompt")
    figures = {"largest completeness error": float(found["completeness_error"].max())}
    figures["most nodes"] = float(found["nodes"].max())
    figures["largest difference from Shapley values (share)"] = float(
        abs(share - shapley / found["total"].mean("prompt")).max()
    )
    for name in one.sites[:1]:
        figures["share of each true component"] = mean(share.sel(component=one.sites)) if name else 0.0
    return figures
