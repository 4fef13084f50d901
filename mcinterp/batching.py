"""Ragged sequences as padded batches, masked by length and never by token id."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Int

from mcinterp.budget import allowed

Side = Literal["left", "right"]
Ids = Sequence[int]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """Sequences padded to one length; `indices` says which of the given sequences each row is."""

    indices: tuple[int, ...]
    lengths: tuple[int, ...]
    tokens: Int[torch.Tensor, "row column"]
    attention: Int[torch.Tensor, "row column"]

    @property
    def present(self) -> Bool[torch.Tensor, "row column"]:
        """Which cells hold a token of their sequence."""
        return self.attention.bool()


def pad(sequences: Sequence[Ids], *, indices: Sequence[int] | None = None, side: Side = "right") -> Batch:
    """Pad sequences to the longest of them; padding cells hold token 0 and no attention.

    Which cells are padding follows from the lengths alone, so a token that doubles as padding (as a newline or the end
    of text may) is safe inside a sequence. The bridge counts positions from the first cell with attention.
    """
    lengths = [len(ids) for ids in sequences]
    longest = max(lengths)
    tokens = torch.zeros(len(sequences), longest, dtype=torch.long)
    attention = torch.zeros_like(tokens)
    for row, ids in enumerate(sequences):
        cells = slice(0, len(ids)) if side == "right" else slice(longest - len(ids), longest)
        tokens[row, cells] = torch.as_tensor(ids)
        attention[row, cells] = 1
    assert attention.sum(dim=-1).tolist() == lengths, "the mask does not match the lengths"
    chosen = tuple(indices) if indices is not None else tuple(range(len(sequences)))
    return Batch(chosen, tuple(lengths), tokens, attention)


def batches(sequences: Sequence[Ids], *, max_tokens: int, side: Side = "right") -> Iterator[Batch]:
    """Batches of at most `max_tokens` cells (less after memory ran out; one sequence at least), longest first.

    Sorting by length keeps padding small; the order of the results is for the caller to restore by `indices`.
    """
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    most, start = allowed(max_tokens), 0
    while start < len(order):
        longest = len(sequences[order[start]])
        chosen = order[start : start + max(1, most // longest)]
        yield pad([sequences[i] for i in chosen], indices=chosen, side=side)
        start += len(chosen)


def waves(items: Iterable[Item], size: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """Consecutive items whose sizes come to at most `most` together (one item at least)."""
    waiting: list[Item] = []
    total = 0
    for item in items:
        own = size(item)
        if waiting and total + own > most:
            yield waiting
            waiting, total = [], 0
        waiting.append(item)
        total += own
    if waiting:
        yield waiting
