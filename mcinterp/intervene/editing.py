"""The hooks of a sweep: they keep what donors' clean tokens do at a site, and put it in the place of branch tokens."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from mcinterp.chain import Stage
from mcinterp.intervene.clean_rows import CleanRows
from mcinterp.intervene.donors import Draw, Kind, replacement
from mcinterp.intervene.layout import Entry, Tokens
from mcinterp.intervene.means import Means
from mcinterp.intervene.plan import Batch, Plan
from mcinterp.intervene.sites import SITES, Place, carried, hook_name


class Target(NamedTuple):
    """One token of a branch to edit: its number, those of its clean twin and of the donor's token, and its draw."""

    id: int
    own: int
    donor: int
    draw: Draw


@dataclass(frozen=True)
class EditGroup:
    """Targets at one site of one layer that are edited alike."""

    kind: Kind
    stage: int
    random: bool
    part: tuple[int, ...] | None
    targets: list[Target]


class Editor:
    """Edits of one stage in one batch, and the hooks that carry them out.

    `wanted` says which clean tokens' activations are needed, at each site and layer, as donors or as own ones.
    """

    stage: Stage
    number: int
    tokens: Tokens
    clean_rows: CleanRows
    means: Means
    slots: np.ndarray

    def __init__(self, stage: Stage, number: int, tokens: Tokens, clean_rows: CleanRows, means: Means) -> None:
        self.stage, self.number, self.tokens = stage, number, tokens
        self.clean_rows, self.means = clean_rows, means
        self.groups: dict[Place, list[EditGroup]] = defaultdict(list)
        self.wanted: dict[Place, np.ndarray] = {}
        self.entry: Entry | None = None
        self.layer: int = -1
        self.applied: int = 0

    def places(self, layer: int) -> list[Place]:
        """Sites of a layer that are kept or edited here."""
        return [place for place in {*self.groups, *self.wanted} if place[1] == layer]

    def wanted_at(self, layer: int) -> np.ndarray:
        """Clean tokens that are kept at any site of a layer."""
        found = [ids for place, ids in self.wanted.items() if place[1] == layer]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def require_applied(self, layer: int) -> None:
        """Refuse a layer in which an edit did not happen: it would look like no effect."""
        asked = sum(len(group.targets) for place in self.places(layer) for group in self.groups.get(place, ()))
        applied, self.applied = self.applied, 0
        if applied != asked:
            raise LookupError(
                f"stage {self.stage.name!r}: {applied} of {asked} edits were applied in layer {layer}; a hook of its "
                f"architecture did not fire."
            )

    def hooks(self, layer: int | None = None) -> list[tuple[str, Any]]:
        """The hooks to hold while the sweep runs, or while one layer of it does."""
        places = sorted({*self.groups, *self.wanted} if layer is None else self.places(layer))
        return carried([(hook_name(*place), partial(self.on, place)) for place in places])

    def expect(self, layer: int, entry: Entry | None) -> None:
        """Say which tokens enter which layer next; nothing is kept or edited without an entry."""
        self.layer, self.entry = layer, entry
        if entry is not None and self.places(layer):
            self.slots = np.full(self.tokens.n + 1, -1)
            ids = entry.ids.flatten().cpu().numpy()
            self.slots[ids] = np.arange(len(ids))
            self.slots[self.tokens.n] = -1

    def on(self, place: Place, activation: torch.Tensor, hook: Any) -> torch.Tensor | None:
        """Keep clean activations, then replace those of branches."""
        if self.entry is None or place[1] != self.layer:
            return None
        self.keep(place, activation)
        changed = None
        for group in self.groups.get(place, ()):
            here = [target for target in group.targets if self.slots[target.id] >= 0]
            if here:
                changed = activation.clone() if changed is None else changed
                values = self.values(place, group, here).to(changed.device)
                self.put(changed, place, here, values, group.part)
                self.applied += len(here)
        return changed

    def keep(self, place: Place, activation: torch.Tensor) -> None:
        """Keep the clean activations that are wanted here and enter now."""
        wanted = self.wanted.get(place, np.empty(0, dtype=np.int64))
        here = wanted[self.slots[wanted] >= 0]
        if len(here):
            self.clean_rows.keep(self.number, place, here.tolist(), self.rows(place, activation, self.slots[here]))

    def values(self, place: Place, group: EditGroup, targets: Sequence[Target]) -> torch.Tensor:
        """The new activations of some targets, cut to the group's heads or neurons."""
        device = self.stage.device
        own = self.cut(self.clean_rows.get(self.number, place, [t.own for t in targets], device), group.part)
        donor = None
        if group.kind == "mean":
            donor = self.cut(self.means.rows(group.stage, place, [t.donor for t in targets], self.tokens), group.part)
            donor = donor.to(device, own.dtype)
        elif group.kind == "stage":
            donor = self.cut(self.clean_rows.get(group.stage, place, [t.donor for t in targets], device), group.part)
            donor = donor.to(own.dtype)
        return replacement(group.kind, own, donor, [t.draw for t in targets], random=group.random)

    @staticmethod
    def cut(rows: torch.Tensor, part: tuple[int, ...] | None) -> torch.Tensor:
        """Some heads or neurons of each row, or all of it."""
        return rows if part is None else rows[:, list(part)]

    def rows(self, place: Place, activation: torch.Tensor, slots: np.ndarray) -> torch.Tensor:
        """A copy of some tokens' activations; attention patterns over columns instead of stored keys."""
        if SITES[place[0]].axis != "pattern":
            flat = activation.reshape(-1, *activation.shape[2:])
            return flat[torch.from_numpy(slots).to(activation.device)]
        entry = self.current()
        group, slot = self.cells(slots, activation.shape[2], activation.device)
        seen = activation[group, :, slot] * entry.visible.to(activation.device)[group, slot].unsqueeze(1)
        by_column = seen.new_zeros(len(slots), activation.shape[1], self.tokens.width)
        columns = entry.key_column.to(activation.device)[group].unsqueeze(1).expand_as(seen)
        return by_column.scatter_add_(2, columns, seen)

    def put(
        self,
        activation: torch.Tensor,
        place: Place,
        targets: Sequence[Target],
        values: torch.Tensor,
        part: tuple[int, ...] | None,
    ) -> None:
        """Write new activations of some tokens."""
        slots = self.slots[[target.id for target in targets]]
        axis = SITES[place[0]].axis
        group, slot = self.cells(slots, activation.shape[2 if axis == "pattern" else 1], activation.device)
        chosen = None if part is None else torch.tensor(part, device=activation.device)
        if axis == "pattern":
            entry = self.current()
            columns = entry.key_column.to(activation.device)[group].unsqueeze(1).expand(-1, values.shape[1], -1)
            spread = values.gather(2, columns) * entry.visible.to(activation.device)[group, slot].unsqueeze(1)
            if chosen is None:
                activation[group, :, slot] = spread
            else:
                activation[group[:, None], chosen, slot[:, None]] = spread
        elif chosen is None:
            activation[group, slot] = values
        else:
            activation[group[:, None], slot[:, None], chosen] = values

    def cells(self, slots: np.ndarray, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Group and slot of flat places."""
        group, slot = np.divmod(slots, width)
        return torch.from_numpy(group).to(device), torch.from_numpy(slot).to(device)

    def current(self) -> Entry:
        """The tokens that are inside a layer now."""
        assert self.entry is not None
        return self.entry


def plan_edits(
    editors: Mapping[int, Editor], plan: Plan, batch: Batch, local: Mapping[int, int], numbers: Sequence[int]
) -> None:
    """Give every stage's editor its edits, and the clean activations that these need.

    `local` maps sequences to their places in the batch, `numbers` each branch to its number in its stage.
    """
    by_kind: dict[tuple, EditGroup] = {}
    wanted: dict[tuple[int, Place], set[int]] = defaultdict(set)
    for number, branch in zip(numbers, batch.branches, strict=True):
        editor, source = editors[branch.recipient], branch.source
        for edit in plan.cells[branch.cell].edits:
            place = (edit.site, edit.layer)
            key = (branch.recipient, place, source.kind, source.stage, source.random, edit.part)
            if key not in by_kind:
                by_kind[key] = EditGroup(source.kind, source.stage, source.random, edit.part, [])
                editor.groups[place].append(by_kind[key])
            behind_layers = edit.layer == plan.chain.base.n_layers
            reads = plan.read_columns(branch.sequence)
            for column in [c for c in branch.columns if c in reads or not behind_layers]:
                own = editor.tokens.trunk_id(local[branch.sequence], column)
                donor = editor.tokens.trunk_id(local[source.sequence], column + source.shift)
                draw = Draw(plan.seed, branch.sequence, edit.site, edit.layer, column, edit.part)
                by_kind[key].targets.append(Target(editor.tokens.branch_id(number, column), own, donor, draw))
                wanted[(branch.recipient, place)].add(own)
                if source.kind == "stage":
                    wanted[(source.stage, place)].add(donor)
    for (stage, place), ids in wanted.items():
        editors[stage].wanted[place] = np.asarray(sorted(ids))
