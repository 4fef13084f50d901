"""Cross-model patches of whole sets of neurons, and of random ones matched in norm."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.intervene.patching import patch
from mcinterp.intervene.places import PositionChoice
from mcinterp.neurons.selection import NeuronSet, pairs_of
from mcinterp.progress import Progress
from mcinterp.sequences import Sequences

METRICS = ("entropy", "attractor_log_odds")
ENDS = ("donor", "recipient")
LABELS = ("prompt", "direction", "text", "template", "donor_stage", "recipient_stage")


def patches(
    chain: Chain,
    sequences: Sequences,
    tried: Mapping[str, Sequence[NeuronSet]],
    positions: PositionChoice,
    directions: Sequence[str],
    read_at: int,
    attractor: int | None,
) -> xr.Dataset:
    """Every set patched in both directions, all its layers together."""
    listed = [(kind, draw) for kind, each in tried.items() for draw in range(len(each))]
    found = {}
    for kind, draw in Progress(listed, desc="neuron patches", unit="set"):
        neurons = tried[kind][draw]
        cell = patch(
            chain,
            sequences,
            sites=("mlp_post",),
            layers=min(neurons),
            window=max(neurons) - min(neurons) + 1,
            neurons=neurons,
            positions=positions,
            directions=directions,
            metrics=METRICS,
            controls=False,
            interaction=False,
            read_at=read_at,
            attractor=attractor,
        )
        found[kind, draw] = cell.isel(site=0, layer=0, drop=True)
    return stacked(found, list(tried))


def stacked(found: Mapping[tuple[str, int], xr.Dataset], kinds: Sequence[str]) -> xr.Dataset:
    """The metrics of all sets along `kind` and `draw`, and their ends, which are the same for all."""
    draws = range(1 + max(draw for _, draw in found))
    first = found[kinds[0], 0]
    data = {f"{name}_{end}": first[f"{name}_{end}"].variable for name in METRICS for end in ENDS}
    for name in METRICS:
        values = np.stack([[found[kind, draw][name].values for draw in draws] for kind in kinds])
        data[name] = xr.Variable(("kind", "draw", *first[name].dims), values).transpose(
            *first[name].dims, "kind", "draw"
        )
    coords = {name: first.coords[name] for name in LABELS if name in first.coords}
    return xr.Dataset(data, coords={**coords, "kind": list(kinds), "draw": list(draws)})


def norm_ratios(norms: xr.DataArray, tried: Mapping[str, Sequence[NeuronSet]]) -> xr.DataArray:
    """The mean norm of every set over that of the asked one."""
    mean = {
        kind: [np.mean([float(norms.sel(layer=a, neuron=b)) for a, b in pairs_of(each)]) for each in sets]
        for kind, sets in tried.items()
    }
    ratio = [[value / values[0] for value in values] for values in mean.values()]
    return xr.DataArray(np.asarray(ratio, dtype=np.float32), dims=("kind", "draw"))
