"""What a change of weights does at each module that applies them: the derivative of a run's scalar, prompt by prompt.

For weights W + a * Delta, a module y = f(x; W) that is affine in its weights adds dy/da = f(x; Delta) - f(x; 0) of its
own, so the derivative of a scalar M of each prompt with respect to `a` in that module alone is the inner product of
dM/dy with it, over the prompt's tokens. One forward pass and one backward pass through activations (never through
weights) give it for all prompts of a batch and all modules at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from transformer_lens.model_bridge.generalized_components import NormalizationBridge
from transformers.pytorch_utils import Conv1D

from mcinterp.chain import Stage
from mcinterp.errors import InputError
from mcinterp.weights.groups import IN, Group, Part
from mcinterp.weights.tensors import Slot, slots_of


class Share(NamedTuple):
    """What of a module's change counts for a group: some of its tensors whole, or a part of one."""

    group: int
    attributes: tuple[str, ...]
    part: Part | None


class Calls:
    """Hooks on a stage's modules that add up, over a backward pass, what the change of weights does in each group.

    `deltas` are the changes by tensor name; modules without one are left alone. `totals` is over group and row of the
    batch, in float64.
    """

    stage: Stage
    deltas: Mapping[str, torch.Tensor]
    n_groups: int

    def __init__(self, stage: Stage, groups: Sequence[Group], deltas: Mapping[str, torch.Tensor]) -> None:
        self.stage, self.deltas, self.n_groups = stage, deltas, len(groups)
        self.slots: dict[str, Slot] = {name: slot for name, slot in slots_of(stage).items() if name in deltas}
        self.by_module: dict[int, list[Slot]] = {}
        for slot in self.slots.values():
            self.by_module.setdefault(id(slot.applied), []).append(slot)
        self.shares: dict[int, list[Share]] = {
            key: list(shares_of(slots, groups)) for key, slots in self.by_module.items()
        }
        self.totals: torch.Tensor = torch.zeros(0, 0, dtype=torch.float64)
        self.fired: set[int] = set()

    @contextmanager
    def listening(self, n_rows: int) -> Iterator[None]:
        """Hold the hooks for one forward and backward pass over a batch of some rows.

        Raises `LookupError` where a changed module was not called, for its change would look like nothing.
        """
        self.totals, self.fired = torch.zeros(self.n_groups, n_rows, dtype=torch.float64), set()
        handles = [self.stage.bridge.embed.original_component.register_forward_hook(begin_graph)]
        for slots in self.by_module.values():
            handles.append(slots[0].applied.register_forward_hook(partial(self.on, slots), with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        silent = [slots[0].name for key, slots in self.by_module.items() if key not in self.fired]
        if silent:
            raise LookupError(
                f"stage {self.stage.name!r}: the modules of {silent} were not called in its forward pass."
            )

    def on(self, slots: list[Slot], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Remember a module's input, and take part in the backward pass at its output."""
        if not isinstance(output, torch.Tensor):
            raise InputError(
                f"module {slots[0].name!r} gives no single tensor, so its weights' change cannot be followed; this "
                f"architecture is not supported."
            )
        rows = self.totals.shape[1]
        output = output if output.requires_grad else output.detach().requires_grad_()
        output = output if output.shape[0] == rows else output.expand(rows, *output.shape[1:])
        given = args[0] if args else next(iter(kwargs.values()))
        output.register_hook(partial(self.take, slots, given.detach()))
        self.fired.add(id(slots[0].applied))
        return output

    @torch.no_grad()
    def take(self, slots: list[Slot], given: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add what the module's change does, row by row, to its groups."""
        deltas = {slot.attribute: self.deltas[slot.name] for slot in slots}
        made: dict[tuple[str, ...], torch.Tensor] = {}
        for share in self.shares[id(slots[0].applied)]:
            if share.part is not None and share.part.side == IN:
                by_head = input_heads(slots[0].holder, deltas, given, gradient, share.part.heads)
                self.totals[share.group] += by_head[:, share.part.head].double().cpu()
                continue
            if share.attributes not in made:
                chosen = {name: delta for name, delta in deltas.items() if name in share.attributes}
                made[share.attributes] = gradient.float() * change_of(slots[0], chosen, given)
            value = made[share.attributes]
            if share.part is not None:
                value = value.unflatten(-1, (share.part.heads, -1))[..., share.part.head, :]
            self.totals[share.group] += value.flatten(1).sum(dim=1, dtype=torch.float64).cpu()


def begin_graph(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    """Let the backward pass reach the embedding's output, where no weight asks for gradients."""
    return output if output.requires_grad else output.detach().requires_grad_()


def shares_of(slots: Sequence[Slot], groups: Sequence[Group]) -> Iterator[Share]:
    """What each group has of a module: its whole tensors together, each part by itself."""
    attributes = {slot.name: slot.attribute for slot in slots}
    for number, group in enumerate(groups):
        members = [member for member in group.members if member.tensor in attributes]
        whole = tuple(attributes[member.tensor] for member in members if member.part is None)
        if whole:
            yield Share(number, whole, None)
        for member in members:
            if member.part is not None:
                yield Share(number, (attributes[member.tensor],), member.part)


def change_of(slot: Slot, deltas: Mapping[str, torch.Tensor], given: torch.Tensor) -> torch.Tensor:
    """f(x; Delta) - f(x; 0) of a module that is affine in its weights, in float32."""
    given = given.float() if given.is_floating_point() else given
    added = {name: value for name, value in slot.holder._buffers.items() if name == "bias"}  # a readout's, of zeros
    present = {name: value for name, value in (slot.holder._parameters | added).items() if value is not None}
    zeros = {name: torch.zeros(value.shape, device=given.device) for name, value in present.items()}
    moved = {**zeros, **{name: delta.float() for name, delta in deltas.items()}}
    change = torch.func.functional_call(slot.holder, moved, (given,))
    if isinstance(slot.applied, NormalizationBridge):
        change = change - torch.func.functional_call(slot.holder, zeros, (given,))
    return change


def input_heads(
    module: Any, deltas: Mapping[str, torch.Tensor], given: torch.Tensor, gradient: torch.Tensor, count: int
) -> torch.Tensor:
    """What the change of a matrix does through each of `count` pieces of its input: over row and piece."""
    matrix = deltas["weight"].float()
    back = gradient.float() @ (matrix.T if isinstance(module, Conv1D) else matrix)
    value = (back * given.float()).unflatten(-1, (count, -1)).sum(dim=-1, dtype=torch.float64)
    return value.flatten(1, -2).sum(dim=1)
