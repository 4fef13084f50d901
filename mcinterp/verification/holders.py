"""Which parameter of a checkpoint holds which weights of the loaded stage, and the values that a graft gives it.

A stage may hold a parameter of its checkpoint in pieces (query, key and value of one fused matrix are copies of its
parts), so groups of weights are taken back to the checkpoint's own names before anything is saved.
"""

from collections.abc import Sequence
from typing import Any

import torch

from mcinterp.chain import Stage
from mcinterp.checkpoints import tensor_name
from mcinterp.errors import InputError
from mcinterp.weights.groups import Group, Part, piece
from mcinterp.weights.tensors import Slot, slots_of

Place = tuple[int, str]
Parts = list[Part | None]


def parameters_of(model: Any) -> dict[str, torch.nn.Parameter]:
    """All parameters by name; one that two modules share stands under both names."""
    return dict(model.named_parameters(remove_duplicate=False))


def grafted_parameters(
    stage: Stage, own: dict[str, torch.nn.Parameter], other: dict[str, torch.nn.Parameter], groups: Sequence[Group]
) -> dict[str, torch.Tensor]:
    """The parameters that some groups of weights change, by name, with the other checkpoint's values in those groups.

    `own` are the stage's parameters as its checkpoint names them. Raises `InputError` where a group is part of a fused
    matrix, or where the other checkpoint has no such parameter of that shape.
    """
    wanted: dict[str, Parts] = {}
    for member in (member for group in groups for member in group.members):
        wanted.setdefault(member.tensor, []).append(member.part)
    held = holders(stage, own)
    lost = wanted.keys() - {slot.name for slots in held.values() for slot in slots}
    if lost:
        raise InputError(
            f"stage {stage.name!r}: {sorted(lost)[0]!r} is a part of a fused matrix of the checkpoint, so it cannot be "
            f"saved by itself; group by component."
        )
    return {
        name: taken(
            name, slots, [wanted.get(slot.name, []) for slot in slots], own[name], counterpart(name, own, other)
        )
        for name, slots in held.items()
        if any(slot.name in wanted for slot in slots)
    }


def taken(
    name: str, slots: Sequence[Slot], parts: Sequence[Parts], own: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    """One parameter with the other's values in the wanted parts of the weights that it holds."""
    if all(each == [None] for each in parts):
        return other
    if len(slots) > 1:
        raise InputError(
            f"parameter {name!r} holds {', '.join(slot.role for slot in slots)} in one matrix, so a part of it cannot "
            f"be taken from another checkpoint; group by component."
        )
    value = own.detach().clone()
    for part in parts[0]:
        assert part is not None, "a tensor is in a group both whole and in part"
        piece(slots[0], part, value).copy_(piece(slots[0], part, other))
    return value


def counterpart(name: str, own: dict[str, torch.nn.Parameter], other: dict[str, torch.nn.Parameter]) -> torch.Tensor:
    """The other checkpoint's parameter of the same name and shape, in the own one's dtype."""
    if name not in other or other[name].shape != own[name].shape:
        there = tuple(other[name].shape) if name in other else "no parameter"
        raise InputError(
            f"the base has {there} for {name!r} and the tuned checkpoint {tuple(own[name].shape)}, so its weights "
            f"cannot be put there; name other sites."
        )
    return other[name].detach().to(own[name].dtype)


def holders(stage: Stage, own: dict[str, torch.nn.Parameter]) -> dict[str, list[Slot]]:
    """Of every parameter of the checkpoint the slots whose weights it holds: its own, or all that were split from it.

    A parameter that the bridge gave no name of its own may have been split: what stands beside it is counted to it.
    """
    names = names_of_places(stage)
    slots = {(id(slot.holder), slot.attribute): slot for slot in slots_of(stage).values()}
    direct = {name: [slot] for place, slot in slots.items() for name in names[place] & own.keys()}
    named = {name for place in slots for name in names[place] if names[place] - own.keys()}
    split = [(slot, names[place]) for place, slot in slots.items() if not names[place] & own.keys()]
    return {name: direct.get(name, []) + ([] if name in named else beside(name, split)) for name in own}


def names_of_places(stage: Stage) -> dict[Place, set[str]]:
    """All names that each place of a parameter (module and attribute) has in the loaded model."""
    found: dict[Place, set[str]] = {}
    for name, module in stage.bridge.original_model.named_modules(remove_duplicate=False):
        for attribute in module._parameters:
            found.setdefault((id(module), attribute), set()).add(tensor_name(f"{name}.{attribute}"))
    return found


def beside(name: str, split: Sequence[tuple[Slot, set[str]]]) -> list[Slot]:
    """The slots that were split from a fused parameter: they stand beside it in the same module."""
    return [slot for slot, names in split if around(name) in {around(each) for each in names}]


def around(name: str) -> tuple[str, str]:
    """The name of the module around a parameter's own module, and the parameter's attribute."""
    *outer, _, attribute = name.split(".")
    return ".".join(outer), attribute
