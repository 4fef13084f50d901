"""Steering as a hook for TransformerLens' own `run_with_hooks`: one dose of `mcinterp.steer`."""

from functools import partial
from typing import Any

import torch
import xarray as xr

from mcinterp.direction.doses import Along, Steering, Variant, require_steering
from mcinterp.errors import InputError
from mcinterp.interop.hooks import Hooks, Positions, columns_of
from mcinterp.intervene.sites import carried, hook_name, parts


def steering_hooks(
    direction: xr.Dataset,
    dose: float,
    *,
    operation: str = "add",
    positions: Positions = "last",
    template: str | None = None,
    seed: int = 0,
) -> Hooks:
    """The hook that steers a run by a direction, as `mcinterp.steer` does at one dose.

    Args:
        direction: What `mcinterp.attractor_direction` gave; it names layer and site.
        dose: c: `add` puts c times the direction into the stream, `ablate` takes c times the component along it out,
            `replace` moves that component c of the way to the recipient's mean one.
        operation: `add`, `ablate` or `replace`.
        positions: As in `patch_hooks`.
        template: Steer by the direction of the other half of the templates, as `steer` with its `split` does for a
            prompt of this template; by default by the whole direction (`split=False`).
        seed: Fixes the halves, as in `steer`.

    Returns:
        Pairs of hook name and function for `bridge.run_with_hooks(tokens, fwd_hooks=...)`.

    Raises:
        InputError: For an unknown operation, a dose that is no finite number (for `ablate` and `replace` from 0 to 1),
            or a dataset that is no direction.
    """
    asked = Steering(direction, (operation,), (float(dose),), 1, "all", template is not None, seed)
    require_steering(asked)
    if operation != "add" and not 0 <= dose <= 1:
        raise InputError(f"{operation} takes doses from 0 to 1 and {dose} was given; give one of them.")
    layer, (site,) = int(direction.attrs["layer"]), parts(str(direction.attrs["site"]))
    along = asked.along("" if template is None else template)
    return carried([(hook_name(site, layer), partial(steer_at, along, Variant((0, 0, 0), operation, dose), positions))])


def steer_at(along: Along, variant: Variant, positions: Positions, activation: torch.Tensor, hook: Any) -> torch.Tensor:
    """An activation, batch first, steered at some positions."""
    columns = columns_of(positions, activation.shape[1])
    changed = activation.clone()
    for row in changed:
        row[columns] = along.edited(row[columns], variant)
    return changed
