"""Methods that exchange activations between the stages, exactly or to first order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.attribution.screen import attribution_patching
from mcinterp.benchmark.case import METRIC, Answer, Case, method, towards_collapse
from mcinterp.intervene.patching import BOTH, patch
from mcinterp.intervene.places import PositionChoice

EMBED = "embed"
OF_SITE = {"attn_out": "attn", "z": "attn", "mlp_out": "mlp"}
MIDDLE = ("resid_pre", "attn_out")
"""The whole stream between attention and MLP: the hook `resid_mid` is on what the MLP reads, past which it flows on."""
EXACT: dict[str, Any] = {"metrics": (METRIC,), "controls": False, "interaction": False}


def cells_of(by: str) -> list[dict[str, Any]]:
    """The patches that stand for components: what layers write, or `z` of every head where heads are told apart.

    A head's `z` lies before the output matrix, so that patches of it do not see what changed there.
    """
    entry = {"sites": ("resid_pre",), "layers": (0,)}
    if by == "head":
        return [entry, {"sites": ("z",), "heads": "each"}, {"sites": ("mlp_out",)}]
    return [entry, {"sites": ("attn_out", "mlp_out")}]


def named(effect: xr.DataArray) -> dict[str, float]:
    """Effects over site, layer (and head) under the names of components; what enters layer 0 is the embedding."""
    found = {}
    for cell in effect.to_dataframe("effect").reset_index().to_dict("records"):
        head = f".{cell['head']}" if "head" in cell else ""
        name = EMBED if cell["site"] == "resid_pre" else f"{cell['layer']}.{OF_SITE[cell['site']]}{head}"
        found[name] = float(cell["effect"])
    return found


def patched(case: Case, direction: str, positions: PositionChoice) -> Answer:
    """Mean effect of patching each component's output towards the collapse; what has no activation scores 0."""
    found: dict[str, float] = {}
    for cells in cells_of(case.by):
        moved = patch(case.chain, case.sequences, positions=positions, directions=(direction,), **EXACT, **cells)
        found |= named(towards_collapse(moved, direction))
    return Answer(case.scores(found))


@method("patch base->tuned (last position)")
def patch_last(case: Case) -> Answer:
    """What the base's activation of a component at the last position undoes in the tuned stage."""
    return patched(case, "base_to_tuned", "last")


@method("patch base->tuned (all positions)")
def patch_base_to_tuned(case: Case) -> Answer:
    """The same with all positions of the prompt patched together."""
    return patched(case, "base_to_tuned", "all")


@method("patch tuned->base (all positions)")
def patch_tuned_to_base(case: Case) -> Answer:
    """What the tuned stage's activation of a component at all positions brings the base."""
    return patched(case, "tuned_to_base", "all")


def estimated(case: Case, direction: str) -> Answer:
    """First-order estimates of the patches at all positions, by gradients at the recipient."""
    sign = 1.0 if direction == "tuned_to_base" else -1.0
    found: dict[str, float] = {}
    for cells in cells_of(case.by):
        moved = attribution_patching(
            case.chain, case.sequences, positions="all", directions=(direction,), metric=METRIC, **cells
        )
        found |= named(sign * moved["estimate"].sel(direction=direction, drop=True).mean("prompt"))
    return Answer(case.scores(found))


@method("attribution patching (tuned gradient)")
def attribution_patching_tuned(case: Case) -> Answer:
    """Estimates of the patches from base to tuned: the gradient is the tuned stage's."""
    return estimated(case, "base_to_tuned")


@method("attribution patching (base gradient)")
def attribution_patching_base(case: Case) -> Answer:
    """Estimates of the patches from tuned to base: the gradient is the base's."""
    return estimated(case, "tuned_to_base")


@method("stitching")
def stitching(case: Case) -> Answer:
    """What each component adds where the stream of one stage is handed to the other behind it instead of before it.

    Below a boundary one stage computes and above it the other, for all positions; a component's score is the mean over
    both ways round. The norm and the unembedding above the last boundary cannot be told apart: `unembed` has both.
    """
    points = [{"sites": ("resid_pre",), "layers": (0,)}, {"sites": (MIDDLE, "resid_post")}]
    moved = [patch(case.chain, case.sequences, positions="all", directions=BOTH, **EXACT, **each) for each in points]
    curves = [boundary_curve(moved, direction) for direction in BOTH]
    layers = range(case.chain.base.n_layers)
    order = [EMBED, *(f"{layer}.{site}" for layer in layers for site in ("attn", "mlp")), "unembed"]
    steps = np.mean([np.diff(curve) for curve in curves], axis=0)
    return Answer(case.scores_of_components(dict(zip(order, steps.tolist(), strict=True))))


def boundary_curve(moved: Sequence[xr.Dataset], direction: str) -> np.ndarray:
    """Mean log-odds, towards the collapse, of the recipient with the donor's stream: from no part of it to all."""
    sign = 1.0 if direction == "tuned_to_base" else -1.0
    ends = [f"{METRIC}_{end}" for end in ("recipient", "donor")]
    entry, above = (each[[METRIC, *ends]].sel(direction=direction, drop=True).mean("prompt") for each in moved)
    inside = above[METRIC].transpose("layer", "site").values.ravel()
    recipient, donor = (float(entry[end]) for end in ends)
    return sign * np.asarray([recipient, entry[METRIC].item(), *inside, donor])
