"""Patches as hooks for TransformerLens' own `run_with_hooks`: what one cell of a sweep does.

Positions count from the last token of the run, which is 0; earlier ones are negative. So they are those of
`mcinterp.patch` on prompts without completions. All prompts of a batch must end in the last column (no padding behind).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from mcinterp.errors import InputError
from mcinterp.interop.cache import entries
from mcinterp.intervene.sites import BY_HEAD, SITES, SiteName, carried, hook_name, parts

Hooks = list[tuple[str, Callable[..., Any]]]
Positions = str | int | slice | Sequence[int]


def patch_hooks(
    donor_cache: Any,
    sites: SiteName | Sequence[str],
    layers: int | Sequence[int],
    positions: Positions = "last",
    *,
    heads: int | Sequence[int] | None = None,
    neurons: Sequence[int] | None = None,
) -> Hooks:
    """Hooks that put a donor's activations into whatever bridge they run in; all sites and layers together.

    With the base's cache and the tuned bridge it is a cell of `base_to_tuned` in `mcinterp.patch`, the other way round
    one of `tuned_to_base`. A change at `resid_mid` is carried on by the stream, as there.

    Args:
        donor_cache: The cache of the donor's `run_with_cache` (or its dictionary) on tokens of the same shape.
        sites: Names of `mcinterp.intervene.sites.SITES` or `kv`, patched together.
        layers: Layers, patched together.
        positions: `last`, `all`, a number, several numbers, or a slice, counted from the last token (0).
        heads: Heads of `z`, `q`, `k`, `v` or `pattern`; all by default.
        neurons: Neurons of `mlp_post`; all by default.

    Returns:
        Pairs of hook name and function for `bridge.run_with_hooks(tokens, fwd_hooks=...)`; they may run many times.

    Raises:
        InputError: For a site, head, neuron or position that does not exist, an activation that the cache lacks, or,
            when the hooks run, tokens of another shape than the donor's.
    """
    kept = entries(donor_cache)
    singles = parts(sites if isinstance(sites, str) else tuple(sites))
    chosen = chosen_parts(singles, heads, neurons)
    listed = [layers] if isinstance(layers, int) else list(layers)
    if not listed:
        raise InputError("no layer was given; give at least one.")
    hooks: Hooks = []
    for layer in listed:
        for site in singles:
            name = hook_name(site, layer)
            if name not in kept:
                raise InputError(f"the donor's cache lacks {name}; keep it in names_filter, or ask for another place.")
            donor = kept[name]
            where = place_of(site, donor, positions, chosen)
            hooks.append((name, partial(put, name, donor, where)))
    return carried(hooks)


def put(name: str, donor: torch.Tensor, where: tuple[Any, ...], activation: torch.Tensor, hook: Any) -> torch.Tensor:
    """An activation with the donor's at a place."""
    if activation.shape != donor.shape:
        raise InputError(
            f"{name} has shape {tuple(activation.shape)} in this run and {tuple(donor.shape)} in the donor's cache; "
            f"run the tokens that the donor was run on, or as many."
        )
    changed = activation.clone()
    changed[where] = donor.to(activation)[where]
    return changed


def chosen_parts(
    singles: Sequence[str], heads: int | Sequence[int] | None, neurons: Sequence[int] | None
) -> list[int] | None:
    """The heads or neurons that are patched; None for all. Refused where a site has none."""
    if heads is not None and neurons is not None:
        raise InputError("heads and neurons were both chosen and no site has both; give one of them.")
    if heads is None and neurons is None:
        return None
    axes = BY_HEAD if heads is not None else ("neuron",)
    odd = [site for site in singles if SITES[site].axis not in axes]
    if odd:
        wanted = "z, q, k, v or pattern" if heads is not None else "mlp_post"
        raise InputError(f"site {odd[0]!r} has no {'heads' if heads is not None else 'neurons'}; ask for {wanted}.")
    given = heads if heads is not None else neurons
    chosen = [int(n) for n in ([given] if isinstance(given, int) else given or ())]
    if not chosen:
        raise InputError("no head or neuron was given; give numbers, or leave them out for all.")
    return chosen


def place_of(site: str, donor: torch.Tensor, positions: Positions, chosen: list[int] | None) -> tuple[Any, ...]:
    """The index of the patched entries of an activation, batch first."""
    pattern = SITES[site].axis == "pattern"
    columns = columns_of(positions, donor.shape[2 if pattern else 1])
    if chosen is None:
        return (slice(None), slice(None), columns) if pattern else (slice(None), columns)
    size = donor.shape[1 if pattern else 2]
    beyond = [n for n in chosen if not 0 <= n < size]
    if beyond:
        raise InputError(f"{beyond[0]} was asked for at {site!r}, which has 0 to {size - 1}; choose among them.")
    rows, several = torch.tensor(columns).unsqueeze(-1), torch.tensor(chosen)
    return (slice(None), several.unsqueeze(-1), torch.tensor(columns)) if pattern else (slice(None), rows, several)


def columns_of(positions: Positions, length: int) -> list[int]:
    """Columns of a run, of positions counted from its last token."""
    there = range(1 - length, 1)
    if isinstance(positions, str):
        if positions not in ("last", "all"):
            raise InputError(f"positions {positions!r} is unknown; give last, all, numbers, or a slice.")
        found = [0] if positions == "last" else list(there)
    elif isinstance(positions, slice):
        low = there[0] if positions.start is None else positions.start
        found = list(range(low, 1 if positions.stop is None else positions.stop, positions.step or 1))
    else:
        found = sorted({int(p) for p in ([positions] if isinstance(positions, int) else positions)})
    beyond = [p for p in found if p not in there]
    if beyond or not found:
        raise InputError(
            f"got positions {found} and the run has {there[0]} to 0 (0 is its last token); choose among them."
        )
    return [position + length - 1 for position in found]
