"""Where the attractor can be read, which is not where it is made: direct logit attribution and lenses, by component."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.landmarks import depth_curve, final_distribution
from mcinterp.lens import logit_lens
from mcinterp.localisation.setting import METRIC, Setting


def written(one: Setting, by: str, names: Sequence[str]) -> np.ndarray:
    """What each component writes into the attractor's logit against the plausible tokens, tuned minus base."""
    options = {"by": by if by == "head" else "component", "against": "plausible"}
    direct = direct_logit_attribution(one.chain, one.sequences, **options, **one.read)["attribution"]
    change = (direct.isel(stage=1) - direct.isel(stage=0)).transpose("prompt", "component")
    there = change["component"].values.tolist()
    columns = [change.values[:, there.index(name)] if name in there else np.full(len(change), np.nan) for name in names]
    return np.stack(columns, axis=1)


def read_by_lens(one: Setting, names: Sequence[str], lens: str) -> np.ndarray:
    """How the gap of the attractor's lens log-odds grows across each component, over prompt and component (nats)."""
    places = "last" if one.reads == (0,) else "completion"
    read = logit_lens(one.chain, one.sequences, positions=places, attractor=one.attractor)[[METRIC]]
    mean = read.sel(position=list(one.reads)).mean("position").expand_dims(position=[0])
    steps = lens_increments(mean, lens)
    return np.stack([steps.get(name, np.full(len(one.sequences), np.nan)) for name in names], axis=1)


def lens_increments(read: xr.Dataset, lens: str) -> Mapping[str, np.ndarray]:
    """By component, how the gap (last stage minus base) of the log-odds at position 0 grows across it, over prompts.

    What the readings of the last layer lack of the true gap is due to the readout and counts for the unembedding.
    """
    gap = read[METRIC].isel(stage=-1) - read[METRIC].isel(stage=0)
    curve = depth_curve(gap.sel(lens=lens, position=0)).transpose("prompt", "depth")
    whole = final_distribution(gap.to_dataset(name="gap"))["gap"].sel(position=0).transpose("prompt")
    steps = np.diff(curve.values, axis=1, prepend=0.0)
    found = {written_by(str(depth)): steps[:, i] for i, depth in enumerate(curve["depth"].values)}
    return {**found, "unembed": whole.values - curve.values[:, -1]}


def written_by(depth: str) -> str:
    """The component between a point of the residual stream and the one before it."""
    layer, point = depth.split("_")
    return "embed" if point == "pre" else f"{layer}.{'attn' if point == 'mid' else 'mlp'}"
