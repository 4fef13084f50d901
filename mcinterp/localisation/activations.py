"""Patches of components' outputs between the two stages, at all positions, at some, or at one at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.intervene.patching import BOTH, patch
from mcinterp.localisation.setting import METRIC, WAYS, Setting
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance
from mcinterp.weights.groups import Group, groups_of
from mcinterp.weights.labels import component_labels, prompt_labels

OUTPUTS = {"attn_out": "attn", "mlp_out": "mlp"}
ASKED, RANDOM = "asked", "random"


def patched_components(
    one: Setting, by: str, positions: str | slice = "all", *, controls: bool = False
) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Direction, component, donor and effect over prompts of outputs that can be patched, some positions together.

    The donor is `asked` (the other stage) or, with `controls`, also `random`: a random change of equal size. Heads are
    not among them: their `z` lies before the output matrix, and says nothing of what changed in it.
    """
    options: dict[str, Any] = {"positions": positions, "metrics": (METRIC,), "controls": controls}
    sites = ("mlp_out",) if by == "head" else tuple(OUTPUTS)
    for over in ({"sites": sites}, {"sites": ("resid_pre",), "layers": 0}):
        patched = patch(one.chain, one.sequences, interaction=False, **over, **options, **one.read)
        yield from effects_of(patched, ASKED, patched[METRIC])
        if controls:
            yield from effects_of(patched, RANDOM, patched[f"{METRIC}_control"].sel(control=RANDOM, drop=True))


def effects_of(patched: xr.Dataset, donor: str, values: xr.DataArray) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Every cell of a sweep as direction, component, donor and effect; read positions are averaged."""
    effect = values - patched[f"{METRIC}_recipient"]
    effect = effect.mean("read_at") if "read_at" in effect.dims else effect
    for cell in effect.stack(cell=["direction", "site", "layer"]).transpose("cell", "prompt"):
        direction, site = str(cell["direction"].item()), str(cell["site"].item())
        name = f"{int(cell['layer'])}.{OUTPUTS[site]}" if site in OUTPUTS else "embed"
        yield direction, name, donor, -cell.values if direction == BOTH[0] else cell.values


def by_position(one: Setting, components: Sequence[str]) -> xr.Dataset:
    """Where some components act: their outputs patched at one position at a time.

    Over `prompt, component, position` (0 is the last prompt token; missing where a prompt is shorter): `necessity` and
    `sufficiency`, nats of log-odds towards the collapse. Components whose output cannot be patched are left out.
    """
    groups = {group.name: group for group in groups_of(one.chain.base, "component")}
    names = [name for name in components if groups[name].site in (*OUTPUTS.values(), "embed")]
    pieces = [position_effects(one, groups[name]) for name in names]
    if not pieces:
        return xr.Dataset()
    dataset = xr.concat(pieces, dim="component").assign_coords(
        **prompt_labels(one.sequences), **component_labels([groups[name] for name in names])
    )
    return with_provenance(describe(dataset), analysis="by_position", **provenance(one.chain, one.sequences))


def position_effects(one: Setting, group: Group) -> xr.Dataset:
    """One component's effects over prompt and position, both ways."""
    site = "resid_pre" if group.site == "embed" else next(out for out, name in OUTPUTS.items() if name == group.site)
    patched = patch(
        one.chain, one.sequences, sites=(site,), layers=group.layer or 0, positions="each", each_position=True,
        metrics=(METRIC,), controls=False, interaction=False, **one.read,
    )  # fmt: skip
    effect = patched[METRIC] - patched[f"{METRIC}_recipient"]
    effect = effect.mean("read_at") if "read_at" in effect.dims else effect
    effect = effect.squeeze(["site", "layer"], drop=True).transpose("prompt", "position", "direction")
    signs = {BOTH[0]: -1, BOTH[1]: 1}
    data = {kind: signs[way] * effect.sel(direction=way, drop=True) for way, kind in WAYS.items()}
    return xr.Dataset(data).reset_coords(drop=True).astype(np.float32)
