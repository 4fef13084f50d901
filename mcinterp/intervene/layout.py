"""Every token that a stage computes in a sweep: the clean sequences, and behind each the tokens of its patched runs.

A patched run (a branch) differs from the clean one only from its first patched layer and position on, so it consists of
the tokens from that position to the last one read, and attends to the clean tokens before them and to its own. Tokens
of all branches are laid out behind their clean sequence (the trunk) and cut into groups of equal size, each attending
to the trunk and to a stretch of branch tokens, under a mask that keeps branches apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int

Ids = Int[np.ndarray, "_"]


class Span(NamedTuple):
    """A branch: which sequence it patches, from which layer on, and its first and last column."""

    sequence: int
    layer: int
    first: int
    last: int


class Tokens:
    """The tokens of one stage in one batch, numbered: clean ones first (sequence by column), then branch by branch.

    Branches are ordered by the layer at which they begin, so that those alive at a layer come first.
    """

    def __init__(self, lengths: Sequence[int], spans: Sequence[Span]) -> None:
        self.lengths: list[int] = list(lengths)
        self.width: int = max(lengths)
        self.spans: list[Span] = list(spans)
        self.n_trunk: int = len(lengths) * self.width
        first = np.asarray([span.first for span in spans], dtype=np.int64)
        sizes = np.asarray([span.last for span in spans], dtype=np.int64) - first + 1
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        owner = np.repeat(np.arange(len(spans)), sizes)
        columns = np.arange(starts[-1]) - starts[owner] + first[owner]
        trunk_sequence, trunk_column = np.divmod(np.arange(self.n_trunk), self.width)
        self.n: int = self.n_trunk + int(starts[-1])
        self.begin: Ids = self.n_trunk + starts
        self.branch: Ids = np.concatenate([np.full(self.n_trunk, -1), owner, [-2]])
        sequences = np.asarray([span.sequence for span in spans], dtype=np.int64)
        layers = np.asarray([span.layer for span in spans], dtype=np.int64)
        self.sequence: Ids = np.concatenate([trunk_sequence, sequences[owner], [0]])
        self.column: Ids = np.concatenate([trunk_column, columns, [0]])
        self.sees_trunk_below: Ids = np.concatenate([np.full(self.n_trunk, self.width), first[owner], [1]])
        self.layer: Ids = np.concatenate([np.zeros(self.n_trunk, dtype=np.int64), layers[owner], [0]])

    def trunk_id(self, sequence: Any, column: Any) -> Any:
        """The number of a clean token, or of several."""
        return sequence * self.width + column

    def branch_id(self, branch: int, column: int) -> int:
        """The number of a branch's token, or of the clean one where the branch begins behind that column."""
        span = self.spans[branch]
        if column < span.first:
            return self.trunk_id(span.sequence, column)
        return int(self.begin[branch]) + column - span.first

    def trunk(self, sequence: int) -> Ids:
        """The clean tokens of one sequence."""
        return sequence * self.width + np.arange(self.lengths[sequence])

    def branches(self, layer: int) -> list[Ids]:
        """By sequence, the tokens of the branches that have begun at a layer, in order."""
        alive = np.arange(self.n_trunk, self.n)[self.layer[self.n_trunk : self.n] <= layer]
        owner = self.sequence[alive]
        return [alive[owner == sequence] for sequence in range(len(self.lengths))]


@dataclass(frozen=True)
class Group:
    """Tokens that enter a layer side by side, and the branch tokens stored or entering that they attend to."""

    sequence: int
    ids: Ids
    own_keys: Ids


def groups_of(tokens: Tokens, entering: Sequence[Ids], behind: Sequence[Ids], size: int) -> Iterator[Group]:
    """Cut each sequence's entering tokens into groups of `size`.

    `behind` holds, by sequence, all branch tokens that may be attended to, in order; a group attends to the stretch of
    them from the beginning of its first branch to its last token.
    """
    for sequence, (ids, own) in enumerate(zip(entering, behind, strict=True)):
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            inside = part[part >= tokens.n_trunk]
            if len(inside):
                low = np.searchsorted(own, tokens.begin[tokens.branch[inside[0]]])
                keys = own[low : np.searchsorted(own, inside[-1], side="right")]
            else:
                keys = own[:0]
            yield Group(sequence, part, keys)


def group_size(counts: Sequence[int], width: int, stored: float, d_model: int) -> int:
    """The number of tokens in a group for which a layer costs least.

    Small groups waste little padding where sequences differ in length; large ones gather keys and values less often.
    `stored` is how many branch tokens each entering one attends to, so a group of S has `width + stored * S` keys. In
    units of `d_model` multiplications a token costs about 24 `d_model` in the layer's matrices and 6 a key in its
    scores, and each key of a group about 250 to gather (measured).
    """
    present = np.asarray([count for count in counts if count])
    sizes = np.unique(np.concatenate([np.arange(8, int(present.max()), 4), present]))
    groups = (-(-present[None, :] // sizes[:, None])).sum(axis=1)
    keys = width + stored * sizes
    costs = groups * (sizes * (24 * d_model + 6 * keys) + 250 * keys)
    return int(sizes[costs.argmin()])


@dataclass(frozen=True)
class Entry:
    """Groups as tensors, padded to one size: token numbers (the last number stands for padding), keys and mask."""

    ids: Int[torch.Tensor, "group slot"]
    sequence: Int[torch.Tensor, "group slot"]
    column: Int[torch.Tensor, "group slot"]
    keys: Int[torch.Tensor, "group key"] | None
    key_column: Int[torch.Tensor, "group key"]
    visible: Bool[torch.Tensor, "group slot key"]

    def mask(self, allowed: Bool[torch.Tensor, "sequence column column"], dtype: torch.dtype) -> torch.Tensor:
        """The additive mask over [group, 1, slot, key] of one layer, from what its model allows between columns."""
        seen = self.visible & self.between(allowed)
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min).unsqueeze(1)

    def between(self, allowed: Bool[torch.Tensor, "sequence column column"]) -> Bool[torch.Tensor, "group slot key"]:
        """What the model allows between each token's column and each key's."""
        rows = self.sequence[:, :1, None] if allowed.shape[0] > 1 else torch.zeros_like(self.sequence[:, :1, None])
        return allowed[rows, self.column[:, :, None], self.key_column[:, None, :]]


def entry_of(tokens: Tokens, groups: Sequence[Group], device: str) -> Entry:
    """Groups as tensors."""
    slots = max(len(group.ids) for group in groups)
    ids = padded([group.ids for group in groups], slots, tokens.n)
    sequence = np.repeat(np.asarray([[group.sequence] for group in groups]), slots, axis=1)
    keys, plain = keys_of(tokens, groups, ids)
    visible = (tokens.branch[keys][:, None, :] == tokens.branch[ids][:, :, None]) | (
        (keys < tokens.n_trunk)[:, None, :]
        & (tokens.column[keys][:, None, :] < tokens.sees_trunk_below[ids][:, :, None])
    )
    visible &= (keys < tokens.n)[:, None, :]

    def put(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    return Entry(
        ids=put(ids),
        sequence=put(sequence),
        column=put(tokens.column[ids]),
        keys=None if plain else put(keys),
        key_column=put(tokens.column[keys]),
        visible=put(visible),
    )


def keys_of(tokens: Tokens, groups: Sequence[Group], ids: np.ndarray) -> tuple[np.ndarray, bool]:
    """The tokens that each group attends to, and whether they are just its own tokens in order."""
    listed = [np.concatenate([tokens.trunk(group.sequence), group.own_keys]) for group in groups]
    plain = all(len(k) == len(g.ids) and np.array_equal(k, g.ids) for k, g in zip(listed, groups, strict=True))
    if plain:
        return ids, True
    return padded(listed, max(len(keys) for keys in listed), tokens.n), False


def padded(rows: Sequence[np.ndarray], width: int, value: int) -> np.ndarray:
    """Rows of numbers, filled up to one width."""
    table = np.full((len(rows), width), value, dtype=np.int64)
    for row, numbers in enumerate(rows):
        table[row, : len(numbers)] = numbers
    return table
