"""The weight tensors of a stage: their names, which component each belongs to, and how to exchange them for a while.

Names are those of TransformerLens' components (`blocks.3.attn.q.weight`), whatever the checkpoint calls them. A tensor
that two components share (tied embeddings) stands under two names and can be exchanged in one of them alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from transformer_lens.model_bridge.generalized_components import NormalizationBridge

from mcinterp.chain import Stage
from mcinterp.placement.loading import refuse_quantised
from mcinterp.placement.residency import kind_of, value_of
from mcinterp.placement.skeletons import residency_of

WRAPPED = "_original_component"


class Slot(NamedTuple):
    """A place that holds one weight tensor.

    `role` is the name inside its layer (`attn.q`), `holder` the module whose parameter `attribute` it is, and `applied`
    the module whose calls apply it (TransformerLens computes some norms itself).
    """

    name: str
    layer: int | None
    role: str
    holder: Any
    attribute: str
    applied: Any

    @property
    def tensor(self) -> torch.Tensor:
        """The tensor that is in place now, read from disk for this once where its layer is not in memory."""
        return value_of(self.holder._parameters[self.attribute])

    @property
    def kind(self) -> tuple[str | torch.device, torch.dtype]:
        """The device and dtype of its values, wherever these are."""
        return kind_of(self.holder._parameters[self.attribute])

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return self.holder._parameters[self.attribute].ndim


known: WeakKeyDictionary[Any, dict[str, Slot]] = WeakKeyDictionary()


def slots_of(stage: Stage) -> dict[str, Slot]:
    """All weight tensors that a forward pass uses, by name, in the order of computation.

    Raises `InputError` for a quantised checkpoint.
    """
    refuse_quantised(stage.checkpoint)
    if stage.bridge not in known:
        known[stage.bridge] = {slot.name: slot for slot in found_slots(stage.bridge)}
    return known[stage.bridge]


def found_slots(bridge: Any) -> Iterator[Slot]:
    """Slots of the embeddings, layer by layer, and of what follows; then of whatever the bridge does not name."""
    seen: set[int] = set()
    named = [name for name in bridge.adapter.component_mapping if name != "blocks" and hasattr(bridge, name)]
    before = [name for name in named if name not in ("ln_final", "unembed")]
    for name in before:
        yield from slots_in(getattr(bridge, name), name, None, seen)
    for layer, block in enumerate(bridge.blocks):
        yield from slots_in(block, "", layer, seen)
    for name in [name for name in named if name not in before]:
        yield from slots_in(getattr(bridge, name), name, None, seen)
    yield from slots_in(bridge.original_model, "other", None, seen)


def slots_in(root: Any, prefix: str, layer: int | None, seen: set[int]) -> Iterator[Slot]:
    """Slots of the modules below one component, each module once, under its shortest name."""
    modules = [(name, module) for name, module in root.named_modules(remove_duplicate=False) if module._parameters]
    modules.sort(key=lambda item: (item[0].count(WRAPPED), len(item[0])))
    best = {id(module): (name, module) for name, module in reversed(modules) if id(module) not in seen}
    roles = {role_of(prefix, name) for name, _ in best.values()}
    order = [id(module) for _, module in root.named_modules() if id(module) in best]
    for number in order:
        name, module = best[number]
        role = role_of(prefix, name)
        seen.add(number)
        if role.endswith("attn.qkv") and role.replace("qkv", "q") in roles:
            continue
        wrapper = root.get_submodule(name.removesuffix(WRAPPED).removesuffix("."))
        applied = wrapper if isinstance(wrapper, NormalizationBridge) else module
        lead = role if layer is None else f"blocks.{layer}.{role}"
        for attribute in [key for key, value in module._parameters.items() if value is not None]:
            yield Slot(f"{lead}.{attribute}", layer, role, module, attribute, applied)


def role_of(prefix: str, name: str) -> str:
    """A module's name without the wrappers in it."""
    parts = [part for part in name.split(".") if part and part != WRAPPED]
    return ".".join([*([prefix] if prefix else []), *parts])


@contextmanager
def installed(stage: Stage, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Let a stage compute with other tensors; the very same ones as before are back afterwards, also after an error.

    They ask for gradients where those before did, since torch lays products out by that, in the last bit.
    """
    slots, before = slots_of(stage), []
    try:
        for name, tensor in tensors.items():
            slot = slots[name]
            own = slot.holder._parameters[slot.attribute]
            before.append((slot, own))
            slot.holder._parameters[slot.attribute] = torch.nn.Parameter(tensor, requires_grad=own.requires_grad)
        yield
    finally:
        residency = residency_of(stage.bridge)
        for slot, parameter in reversed(before):
            if residency is None or slot.layer is None:
                slot.holder._parameters[slot.attribute] = parameter
            else:
                residency.put_back(residency.slot(slot.layer, slot.holder, slot.attribute), slot.layer, parameter)


@contextmanager
def without_gradients(stage: Stage) -> Iterator[None]:
    """Let no weight of a stage ask for gradients for a while: a backward pass then runs through activations alone."""
    asking = [parameter for parameter in stage.bridge.original_model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def changed_tensors(base: Stage, tuned: Stage) -> list[str]:
    """Names of the tensors that are not bit for bit the same in two stages."""
    theirs = slots_of(tuned)
    return [name for name, slot in slots_of(base).items() if not same(slot.tensor, theirs[name].tensor)]


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same values, on whatever devices."""
    return torch.equal(one, other.to(one.device, one.dtype))
