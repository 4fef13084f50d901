"""The hooks of a held patch: at every step they keep the donor's newest activations and put them into the recipient."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch

from mcinterp.intervene.cells import Cell
from mcinterp.intervene.donors import Draw, Kind, moved
from mcinterp.intervene.sites import SITES, Place, carried, hook_name

Part = tuple[int, ...] | None


class Row(NamedTuple):
    """One trajectory: which cell is patched (None for the clean run), after which prompt, with which random numbers."""

    cell: int | None
    prompt: int
    sample: int


class Variant(NamedTuple):
    """The patch that was asked for, or a control of it: what is put in, or with `random` only how far that lies."""

    name: str
    kind: Kind
    random: bool = False


def edits_of_rows(cells: Sequence[Cell], rows: Sequence[Row]) -> dict[Place, list[tuple[Part, list[int]]]]:
    """By site and layer, the heads or neurons that are replaced and in which rows."""
    table: dict[Place, dict[Part, list[int]]] = {}
    for number, row in enumerate(rows):
        for edit in cells[row.cell].edits if row.cell is not None else ():
            table.setdefault((edit.site, edit.layer), {}).setdefault(edit.part, []).append(number)
    return {place: list(parts.items()) for place, parts in table.items()}


@dataclass(repr=False)
class Hold:
    """Edits of a batch of trajectories, row by row, carried out at every step.

    `lengths` counts each row's tokens up to the newest one. It has no repr of its own: TransformerLens takes one of
    every hook that it adds, and would print all activations that are held.
    """

    variant: Variant
    rows: Sequence[Row]
    edits: dict[Place, list[tuple[Part, list[int]]]]
    lengths: list[int]
    columns: slice
    seed: int
    given: dict[Place, torch.Tensor] = field(default_factory=dict)
    applied: set[Place] = field(default_factory=set)

    def keeping(self) -> list[tuple[str, Any]]:
        """Hooks of the donor, which keep its activations of the newest tokens."""
        return [(hook_name(*place), partial(self.keep, place)) for place in self.edits]

    def putting(self) -> list[tuple[str, Any]]:
        """Hooks of the recipient, which replace its activations of the newest tokens."""
        return carried([(hook_name(*place), partial(self.put, place)) for place in self.edits])

    def keep(self, place: Place, activation: torch.Tensor, hook: Any) -> None:
        """Keep the donor's activation."""
        self.given[place] = tokens_second(place, activation)[:, self.columns].clone()

    def put(self, place: Place, activation: torch.Tensor, hook: Any) -> torch.Tensor:
        """Replace the recipient's activation in the rows that patch this place."""
        changed = activation.clone()
        view = tokens_second(place, changed)[:, self.columns]
        given = self.given[place].to(activation.device, activation.dtype)
        for part, rows in self.edits[place]:
            chosen = slice(None) if part is None else list(part)
            own = view[rows][:, :, chosen]
            new = torch.zeros_like(own) if self.variant.kind == "zero" else given[rows][:, :, chosen]
            both = view[rows]
            both[:, :, chosen] = self.moved(place, part, rows, own, new) if self.variant.random else new
            view[rows] = both
        self.applied.add(place)
        return changed

    def moved(
        self, place: Place, part: Part, rows: Sequence[int], own: torch.Tensor, new: torch.Tensor
    ) -> torch.Tensor:
        """The own activations plus a random step as long as the one to the new ones, token by token."""
        steps = torch.stack([self.directions(place, part, row, own[0]) for row in rows]).to(own)
        return moved(own.flatten(0, 1), new.flatten(0, 1), steps.flatten(0, 1)).view_as(own)

    def directions(self, place: Place, part: Part, row: int, like: torch.Tensor) -> torch.Tensor:
        """A random direction for each token of a row, the one that a patch of that prompt at that token has."""
        found = torch.zeros(like.shape, dtype=torch.float32)
        for back in range(min(len(found), self.lengths[row])):
            column = self.lengths[row] - 1 - back
            draw = Draw(self.seed, self.rows[row].prompt, *place, column, part)
            if SITES[place[0]].axis == "pattern":
                keys = like.shape[2] - back
                seen = torch.from_numpy(draw.direction((like.shape[1], column + 1), column + 1))[:, -keys:]
                found[-1 - back, :, keys - seen.shape[1] : keys] = seen
            else:
                found[-1 - back] = torch.from_numpy(draw.direction(like.shape[1:], like.shape[-1]))
        return found

    def require(self, stage: str, fired: Collection[Place]) -> None:
        """Refuse a step in which a hook of a stage did not fire: it would look like no effect."""
        missing = sorted(place for place in self.edits if place not in fired)
        if missing:
            raise LookupError(f"stage {stage!r}: the hooks at {missing} did not fire in its architecture.")

    def advance(self) -> None:
        """One more token in every row."""
        self.given.clear()
        self.applied.clear()
        self.lengths = [length + 1 for length in self.lengths]


def tokens_second(place: Place, activation: torch.Tensor) -> torch.Tensor:
    """An activation over row, token, ...: attention patterns have their heads before the query."""
    return activation.transpose(1, 2) if SITES[place[0]].axis == "pattern" else activation
