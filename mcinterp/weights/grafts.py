"""Grafts: groups of one stage's weights put into another, and what that does to the next-token distribution.

`base_to_tuned` puts the base's weights into the tuned checkpoint: what undoes a collapse (necessity). `tuned_to_base`
puts tuned weights into the base: what brings it (sufficiency). Weights act at every position of every prompt at once,
other than patched activations.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.budget import halving
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of, require_token
from mcinterp.intervene.patching import BOTH
from mcinterp.intervene.plan import Direction, directions_of
from mcinterp.intervene.recovery import with_recovery
from mcinterp.progress import Progress
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import provenance
from mcinterp.weights.grafting import graft_values
from mcinterp.weights.groups import Group, chosen_groups, groups_of, tensors_from, together
from mcinterp.weights.labels import component_labels, prompt_labels
from mcinterp.weights.scalar import SCALARS, Judged, Scalar, judge, scalar_named
from mcinterp.weights.tensors import installed, slots_of

ORDERS = ("each", "up", "down", "ranges")
Metrics = Sequence[str] | Mapping[str, Scalar] | None


@contextmanager
def grafted(
    chain: Chain, groups: Sequence[str] | None = None, *, by: str = "component", direction: str = "base_to_tuned"
) -> Iterator[Stage]:
    """The recipient stage with the donor's weights in some groups; its own are back afterwards, bit for bit.

    `groups` are names by `by` (`3.mlp`, `unembed`; all of them for None). Everything that runs the stage's bridge
    inside sees the grafted weights; its `readout` keeps its own. Raises `InputError` for an unknown group or stage.
    """
    (way,) = directions_of(chain, [direction], same_run=True)
    chosen = chosen_groups(chain, by, groups)
    recipient, donor = chain.stages[way.recipient], chain.stages[way.donor]
    with installed(recipient, tensors_from(recipient, donor, chosen)):
        yield recipient


@contextmanager
def interpolated(
    chain: Chain, alpha: float, groups: Sequence[str] | None = None, *, by: str = "component"
) -> Iterator[Stage]:
    """The base with W_base + alpha * (W_tuned - W_base) in some groups (all for None); its own are back afterwards."""
    own, theirs = slots_of(chain.base), slots_of(chain.tuned)
    names = {member.tensor for group in chosen_groups(chain, by, groups) for member in group.members}
    moved = {}
    for name in sorted(names):
        here, there = own[name].tensor, theirs[name].tensor
        step = there.to(here.device).float() - here.float()
        moved[name] = (here.float() + alpha * step).to(here.dtype) if alpha != 1 else there.to(here.device, here.dtype)
    with installed(chain.base, moved):
        yield chain.base


@halving
def graft_sweep(
    chain: Chain,
    prompts: PromptsLike,
    *,
    by: str = "component",
    order: str = "each",
    groups: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    directions: Sequence[str] = BOTH,
    metrics: Metrics = None,
    read_at: int | Sequence[int] = 0,
    attractor: int | None = None,
) -> xr.Dataset:
    """Graft every group of weights in turn and read the next-token distribution.

    Args:
        chain: A pair or chain of checkpoints.
        prompts: Texts, prompts, rendered prompts, or teacher-forced sequences.
        by: How weights are grouped; see `mcinterp.weights.groups`.
        order: `each`: one group at a time; `up`: the first groups together up to each one; `down`: each one and all
            above; `ranges`: every contiguous range of layers (what restoring a range of layers to base weights claims).
        groups: Names of groups to graft, or a mapping from a name to groups that are grafted together.
        directions: `DONOR_to_RECIPIENT` with stage names; `base` is the first stage and `tuned` the last.
        metrics: Names of `mcinterp.weights.scalar.SCALARS` (all by default), or functions of a `Reading` by name.
        read_at: Positions whose next-token distribution is read; several are averaged.
        attractor: The followed token id; by default, in every direction, the later stage's most likely token.

    Returns:
        A dataset over `prompt, direction, component` (with `site`, `layer`, `head`, and `last_layer` for ranges): a
        variable a metric, `<metric>_donor` and `<metric>_recipient` for the ends, and `<metric>_recovery`.

    Raises:
        InputError: For an unknown grouping, group, order, metric or stage.
    """
    if order not in ORDERS:
        raise InputError(f"order {order!r} is unknown; give one of {', '.join(ORDERS)}.")
    sequences = as_sequences(chain, prompts)
    reads, followed = reads_of(sequences, read_at), require_token(chain, attractor)
    listed = ordered(chain, by, order, groups)
    ways, chosen = directions_of(chain, directions, same_run=True), chosen_scalars(metrics)
    values: dict[str, Any] = {name: np.full((len(sequences), len(ways), len(listed)), np.nan) for name in chosen}
    ends: dict[str, Any] = {}
    for number, way in enumerate(ways):
        judged = judge(chain, sequences, reads, followed, earlier=min(way[1:]), later=max(way[1:]))
        add_ends(ends, chain, way, judged, chosen)
        for place, found in enumerate(graft_values(chain, way, [[group] for group in listed], judged, chosen)):
            for name, value in found.items():
                values[name][:, number, place] = value
    cells = ("prompt", "direction", "component")
    data = {name: (cells, value.astype(np.float32)) for name, value in values.items()}
    data |= {name: (cells[:2], np.stack(each, axis=1).astype(np.float32)) for name, each in ends.items()}
    dataset = xr.Dataset(
        data, coords={**prompt_labels(sequences), **way_labels(chain, ways), **component_labels(listed)}
    )
    dataset = with_recovery(dataset, [name for name in chosen if name in SCALARS and not name.startswith("kl")])
    return with_provenance(
        describe(dataset),
        analysis="graft_sweep",
        by=by,
        order=order,
        read_at=list(reads),
        **provenance(chain, sequences),
    )


def chosen_scalars(metrics: Metrics) -> dict[str, Scalar]:
    """Metrics by name."""
    if isinstance(metrics, Mapping):
        return dict(metrics)
    return dict(scalar_named(name) for name in (SCALARS if metrics is None else metrics))


def ordered(
    chain: Chain, by: str, order: str, names: Sequence[str] | Mapping[str, Sequence[str]] | None
) -> list[Group]:
    """The groups that are grafted, one for every point of the result."""
    if order == "ranges":
        return ranges(groups_of(chain.base, "layer"))
    listed = chosen_groups(chain, by, names)
    if order == "each":
        return listed
    towards = listed if order == "up" else listed[::-1]
    summed = list(accumulate(([group] for group in towards), lambda before, new: before + new))
    joined = [
        group._replace(members=together(group.name, parts).members)
        for group, parts in zip(towards, summed, strict=True)
    ]
    return joined if order == "up" else joined[::-1]


def ranges(groups: Sequence[Group]) -> list[Group]:
    """Every contiguous range of layers as one group."""
    layers = [group for group in groups if group.layer is not None]
    return [
        together(f"layers {first.layer} to {last.layer}", layers[i : j + 1])._replace(site="layers", layer=first.layer)
        for i, first in enumerate(layers)
        for j, last in enumerate(layers)
        if j >= i
    ]


def add_ends(
    ends: dict[str, list[np.ndarray]], chain: Chain, way: Direction, judged: Judged, metrics: Mapping[str, Scalar]
) -> None:
    """Metrics of the two stages of a direction as they are."""
    for end in ("donor", "recipient"):
        for name, value in judged.values(chain.stages[getattr(way, end)], metrics).items():
            ends.setdefault(f"{name}_{end}", []).append(value)


def way_labels(chain: Chain, ways: Sequence[Direction]) -> dict[str, Any]:
    """Coordinates of the axis `direction`."""
    return {
        "direction": [way.name for way in ways],
        "donor_stage": ("direction", [chain.names[way.donor] for way in ways]),
        "recipient_stage": ("direction", [chain.names[way.recipient] for way in ways]),
    }


@halving
def interpolate(
    chain: Chain,
    prompts: PromptsLike,
    *,
    alphas: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    groups: Sequence[str] | None = None,
    by: str = "component",
    metrics: Metrics = None,
    read_at: int | Sequence[int] = 0,
    attractor: int | None = None,
) -> xr.Dataset:
    """Metrics along W_base + alpha * Delta, beyond the tuned checkpoint where alpha exceeds 1.

    `groups` of weights move (all by default), the others stay the base's. Returns a dataset over `prompt, alpha` with a
    variable a metric. Raises `InputError` for unknown groups or metrics.
    """
    chain.require_two()
    sequences = as_sequences(chain, prompts)
    reads, chosen = reads_of(sequences, read_at), chosen_scalars(metrics)
    judged = judge(chain, sequences, reads, require_token(chain, attractor))
    values: dict[str, list[np.ndarray]] = {name: [] for name in chosen}
    for alpha in Progress(list(alphas), desc="interpolation", unit="step"):
        with interpolated(chain, float(alpha), groups, by=by) as stage:
            for name, value in judged.values(stage, chosen).items():
                values[name].append(value)
    data = {name: (("prompt", "alpha"), np.stack(each, axis=1).astype(np.float32)) for name, each in values.items()}
    dataset = xr.Dataset(data, coords={**prompt_labels(sequences), "alpha": [float(alpha) for alpha in alphas]})
    moved = "all" if groups is None else list(groups)
    return with_provenance(
        describe(dataset),
        analysis="interpolate",
        groups=moved,
        by=by,
        read_at=list(reads),
        **provenance(chain, sequences),
    )
