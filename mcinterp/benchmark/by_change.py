"""Methods that look at the change of the weights alone, without running a model."""

from collections.abc import Iterator

import torch

from mcinterp.benchmark.case import Answer, Case, method
from mcinterp.weights.groups import Group, piece
from mcinterp.weights.tensors import slots_of

TINY = 1e-12


def tensors_of(case: Case, group: Group) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The base's tensors of a group, or the parts of them that belong to it, beside how each was changed."""
    own, theirs = slots_of(case.chain.base), slots_of(case.chain.tuned)
    for name, part in group.members:
        pair = [(slots[name], slots[name].tensor.float()) for slots in (own, theirs)]
        before, after = (tensor if part is None else piece(slot, part, tensor) for slot, tensor in pair)
        yield before, after.to(before.device) - before


@method("delta norm")
def delta_norm(case: Case) -> Answer:
    """Length of a component's change over the length of its weights (Frobenius norms)."""
    found = {}
    for group in case.groups:
        squares = [[float(each.square().sum()) for each in pair] for pair in tensors_of(case, group)]
        own, moved = (sum(side) for side in zip(*squares, strict=True))
        found[group.name] = (moved / max(own, TINY)) ** 0.5
    return Answer(case.scores(found))


@method("delta top singular value")
def delta_top_singular_value(case: Case) -> Answer:
    """The largest singular value of the change of any matrix of a component, over that of the matrix itself."""
    found = {}
    for group in case.groups:
        matrices = [(own, moved) for own, moved in tensors_of(case, group) if own.ndim == 2]
        found[group.name] = max((stretch(moved) / max(stretch(own), TINY) for own, moved in matrices), default=0.0)
    return Answer(case.scores(found))


def stretch(matrix: torch.Tensor) -> float:
    """The largest singular value of a matrix."""
    return float(torch.linalg.matrix_norm(matrix, ord=2))
