"""Weight tensors in groups: by tensor, head, component, layer or kind. Every tensor belongs to exactly one group.

A component is the embedding (with that of positions), the attention or the MLP of a layer (each with the norms that
stand around it), the final norm, or the unembedding.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from transformers.pytorch_utils import Conv1D

from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.weights.tensors import Slot, slots_of

GROUPINGS = ("tensor", "head", "component", "layer", "kind")
SITES = {"embed": "embed", "pos_embed": "embed", "embed_ln": "embed", "ln_final": "norm", "unembed": "unembed"}
BESIDE = {"attn": "attn", "ln1": "attn", "ln1_post": "attn", "mlp": "mlp", "ln2": "mlp", "ln2_post": "mlp"}
OUT, IN = "out", "in"
Label: TypeAlias = tuple[str, str, int | None, int | None]


class Part(NamedTuple):
    """One head's share of a tensor: which of `heads` equal pieces of its outputs or of its inputs."""

    side: Literal["out", "in"]
    head: int
    heads: int


class Member(NamedTuple):
    """A tensor, or a part of it, in a group."""

    tensor: str
    part: Part | None


class Group(NamedTuple):
    """Weights that are treated together, and the labels under which they stand in a result."""

    name: str
    site: str
    layer: int | None
    head: int | None
    members: tuple[Member, ...]


def groups_of(stage: Stage, by: str) -> list[Group]:
    """All groups of a stage's weights, in the order of computation.

    With `head`, a query head holds its rows of the query matrix and its columns of the output matrix; key and value
    heads that several query heads share are groups of their own (site `kv`), and what belongs to no head stays with its
    component. Raises `InputError` for another grouping, or for heads where attention has no such matrices.
    """
    if by not in GROUPINGS:
        raise InputError(f"grouping {by!r} is unknown; give one of {', '.join(GROUPINGS)}.")
    slots = slots_of(stage)
    labelled = [labels for slot in slots.values() for labels in labels_of(stage, slot, slots.values(), by)]
    members: dict[Label, list[Member]] = {}
    for label, member in labelled:
        members.setdefault(label, []).append(member)
    return [Group(*label, members=tuple(listed)) for label, listed in members.items()]


def labels_of(stage: Stage, slot: Slot, slots: Iterable[Slot], by: str) -> Iterator[tuple[Label, Member]]:
    """The groups that a tensor belongs to (several only where its heads are told apart), each with its part."""
    site, whole = site_of(slot, slots), Member(slot.name, None)
    if by == "head" and site == "attn":
        yield from head_labels(stage, slot)
    elif by == "tensor":
        yield (slot.name, site, slot.layer, None), whole
    elif by == "kind":
        yield (site, site, None, None), whole
    elif by == "layer" and slot.layer is not None:
        yield (f"layer {slot.layer}", "layer", slot.layer, None), whole
    else:
        yield (component_name(site, slot.layer), site, slot.layer, None), whole


def component_name(site: str, layer: int | None) -> str:
    """The name of a component."""
    return site if layer is None else f"{layer}.{site}"


def site_of(slot: Slot, slots: Iterable[Slot]) -> str:
    """The component that a tensor belongs to; a norm that feeds attention and MLP alike is a component of its own."""
    first = slot.role.split(".")[0]
    if slot.layer is None:
        return SITES.get(first, "other")
    if first == "ln1":
        roles = {other.role.split(".")[0] for other in slots if other.layer == slot.layer}
        return "attn" if roles & {"ln2", "ln2_post"} else "norm"
    return BESIDE.get(first, "other")


def head_labels(stage: Stage, slot: Slot) -> Iterator[tuple[Label, Member]]:
    """One group a head for the query, key, value and output matrices; the component for all else in attention."""
    config = stage.bridge.cfg
    queries, keys = int(config.n_heads), int(config.n_key_value_heads or config.n_heads)
    role = slot.role.removeprefix("attn.")
    if stage.bridge.blocks[0].attn is None or not {"attn.q", "attn.o"} <= {s.role for s in slots_of(stage).values()}:
        raise InputError(f"stage {stage.name!r} has no separate query and output matrices; group by component.")
    side = IN if role == "o" else OUT
    count = {"q": queries, "o": queries, "k": keys, "v": keys}.get(role)
    if count is None or (role == "o" and slot.attribute == "bias"):
        yield (component_name("attn", slot.layer), "attn", slot.layer, None), Member(slot.name, None)
        return
    site = "kv" if role in ("k", "v") and keys < queries else "attn"
    for head in range(count):
        name = f"{component_name(site, slot.layer)}.{head}"
        yield (name, site, slot.layer, head), Member(slot.name, Part(side, head, count))


def axis_of(slot: Slot, side: str) -> int:
    """The axis of a tensor along which its outputs or inputs lie."""
    if slot.attribute == "bias" or slot.ndim == 1:
        return 0
    flipped = isinstance(slot.holder, Conv1D)
    return (1 if flipped else 0) if side == OUT else (0 if flipped else 1)


def piece(slot: Slot, part: Part, tensor: torch.Tensor) -> torch.Tensor:
    """The view of a tensor that a part of it is."""
    axis = axis_of(slot, part.side)
    size = tensor.shape[axis] // part.heads
    return tensor.narrow(axis, part.head * size, size)


def tensors_from(recipient: Stage, donor: Stage, groups: Sequence[Group]) -> dict[str, torch.Tensor]:
    """The recipient's tensors with those of some groups taken from the donor, ready to be installed."""
    own, theirs = slots_of(recipient), slots_of(donor)
    found: dict[str, torch.Tensor] = {}
    for member in (member for group in groups for member in group.members):
        slot = own[member.tensor]
        other = theirs[member.tensor].tensor.to(*slot.kind)
        if member.part is None:
            found[member.tensor] = other
            continue
        if member.tensor not in found:
            found[member.tensor] = slot.tensor.clone()
        piece(slot, member.part, found[member.tensor]).copy_(piece(slot, member.part, other))
    return found


def chosen_groups(chain: Chain, by: str, names: Sequence[str] | Mapping[str, Sequence[str]] | None) -> list[Group]:
    """All groups, some of them by name, or the caller's own: a mapping from a name to names of groups put together."""
    listed = groups_of(chain.base, by)
    there = {group.name: group for group in listed}
    if names is None:
        return listed
    asked = dict(names) if isinstance(names, Mapping) else {name: [name] for name in names}
    unknown = [name for parts in asked.values() for name in parts if name not in there]
    if unknown or not asked:
        given = repr(unknown[0]) if unknown else "no group"
        raise InputError(f"got {given} for groups by {by}; give some of {', '.join(list(there)[:12])}, ...")
    return [together(name, [there[part] for part in parts]) for name, parts in asked.items()]


def together(name: str, groups: Sequence[Group]) -> Group:
    """Several groups as one."""
    if len(groups) == 1:
        return groups[0]._replace(name=name)
    return Group(name, "several", None, None, tuple(member for group in groups for member in group.members))
