"""Collects what a sweep reads into one labelled dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp import divergence
from mcinterp.intervene.metrics import IDS, Metric, Reading, evaluate
from mcinterp.intervene.plan import Batch, Plan
from mcinterp.intervene.sweep import Ends, Finals


class Noise(NamedTuple):
    """The largest change of a control that should change nothing: in nats, and as a share of values beyond one nat."""

    floor: float
    relative: float


Logs = Float[torch.Tensor, "row vocabulary"]
Labels = Mapping[str, Sequence[int] | Sequence[str] | None]


class Table:
    """Values of every metric by variant, direction, cell, prompt and read position, filled as batches run.

    It follows the given token, those that the table `like` follows, or the tuned stage's most likely ones.
    """

    plan: Plan
    metrics: Mapping[str, Metric]
    given: int | None
    like: "Table | None"
    local: dict[int, int]
    followed: torch.Tensor
    rivals: torch.Tensor
    belongs: torch.Tensor

    def __init__(
        self, plan: Plan, metrics: Mapping[str, Metric], attractor: int | None, like: "Table | None" = None
    ) -> None:
        self.plan, self.metrics, self.given, self.like = plan, metrics, attractor, like
        shape = (len(plan.directions), plan.n_prompts, len(plan.reads))
        self.cells: tuple[int, ...] = (len(plan.variants), len(plan.directions), len(plan.cells), *shape[1:])
        self.values: dict[str, np.ndarray] = {name: np.full(self.cells, np.nan) for name in metrics}
        self.donor: dict[str, np.ndarray] = {name: np.full(shape, np.nan) for name in metrics}
        self.recipient: dict[str, np.ndarray] = {name: np.full(shape, np.nan) for name in metrics}
        self.attractor: np.ndarray = np.full(shape, -1, dtype=np.int32)
        self.ends: Ends | None = None

    def take_ends(self, batch: Batch, ends: Ends) -> None:
        """Keep a batch's clean distributions, choose what is followed, and measure them."""
        self.ends = ends
        self.local = {sequence: place for place, sequence in enumerate(ends.sequences)}
        later = [stage if stage in ends.by_stage else 0 for stage in self.later_stages()]
        chosen = [self.follow(ends, stage, direction) for direction, stage in enumerate(later)]
        self.followed, self.rivals, self.belongs = (torch.stack(each) for each in zip(*chosen, strict=True))
        for number in range(len(self.plan.directions)):
            self.take_ends_of(number, [branch.sequence for branch in batch.branches if branch.direction == number])

    def later_stages(self) -> list[int]:
        """The later stage of every direction."""
        return [max(direction.donor, direction.recipient) for direction in self.plan.directions]

    def take_ends_of(self, direction: int, sequences: Sequence[int]) -> None:
        """Measure the ends of one direction for the prompts that have branches of it here.

        A prompt's branches may be spread over batches, and the clean runs of other directions' stages are not in each.
        """
        prompts = dict.fromkeys(sequences)
        pairs = [(p, r) for p in prompts for r, column in enumerate(self.plan.read_columns(p)) if column >= 0]
        if not pairs:
            return
        at = tuple(np.asarray(each) for each in zip(*pairs, strict=True))
        self.attractor[(direction, *at)] = [int(self.followed[direction, self.local[p], r]) for p, r in pairs]
        reading = self.reading(None, [(direction, *pair) for pair in pairs])
        for end, table in (("donor", self.donor), ("recipient", self.recipient)):
            for name, value in evaluate(self.metrics, replace(reading, log_probs=getattr(reading, end))).items():
                table[name][(direction, *at)] = value.numpy()

    def follow(self, ends: Ends, tuned: int, direction: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The followed token at every read position, a stage's most likely one unless given, and its rivals."""
        followed = divergence.followed_token(ends.by_stage[tuned].cpu(), self.given)
        if self.like is not None:
            places = [place for place, sequence in enumerate(ends.sequences) if sequence < self.plan.n_prompts]
            known = self.like.attractor[direction, [ends.sequences[place] for place in places]]
            followed[places] = torch.as_tensor(known, dtype=followed.dtype)
        base = ends.by_stage[0]
        rivals, belongs = divergence.plausible_set(base, followed.to(base.device))
        return followed, rivals.cpu(), belongs.cpu()

    def take(self, batch: Batch, finals: Finals) -> None:
        """Measure some branches."""
        chosen = [batch.branches[index] for index in finals.branches]
        rows = [(b.direction, b.sequence, read) for b, read in zip(chosen, finals.reads, strict=True)]
        values = evaluate(self.metrics, self.reading(finals.log_probs, rows))
        at = tuple(
            np.asarray(each)
            for each in zip(
                *(
                    (b.variant, b.direction, b.cell, b.sequence, read)
                    for b, read in zip(chosen, finals.reads, strict=True)
                ),
                strict=True,
            )
        )
        for name, value in values.items():
            self.values[name][at] = value.numpy()

    def reading(self, log_probs: Logs | None, rows: Sequence[tuple[int, int, int]]) -> Reading:
        """Distributions of some rows (direction, prompt, read position) beside their ends."""
        donor = torch.stack([self.end(self.plan.directions[d].donor, self.plan.end_sequence(p), r) for d, p, r in rows])
        recipient = torch.stack([self.end(self.plan.directions[d].recipient, p, r) for d, p, r in rows])
        where = donor.device if log_probs is None else log_probs.device
        at = tuple(torch.tensor(each) for each in zip(*((d, self.local[p], r) for d, p, r in rows), strict=True))
        return Reading(
            log_probs=donor if log_probs is None else log_probs,
            donor=donor.to(where),
            recipient=recipient.to(where),
            attractor=self.followed[at].to(where),
            rivals=self.rivals[at].to(where),
            belongs=self.belongs[at].to(where),
        )

    def end(self, stage: int, sequence: int, read: int) -> torch.Tensor:
        """One clean distribution."""
        assert self.ends is not None
        return self.ends.by_stage[stage][self.local[sequence], read]

    def noise(self, names: Sequence[str]) -> Noise:
        """The largest change that putting a run's own activations back made to any of some metrics."""
        if "noop" not in self.plan.variants or not names:
            return Noise(float("nan"), float("nan"))
        noop = self.plan.variants.index("noop")
        ends = np.stack([self.recipient[name][:, None] for name in names])
        changes = np.abs(np.stack([self.values[name][noop] for name in names]) - ends)
        return Noise(float(np.nanmax(changes)), float(np.nanmax(changes / np.maximum(1.0, np.abs(ends)))))

    def dataset(self) -> xr.Dataset:
        """Everything that was read, labelled; axes that were not asked for are left out."""
        labels = self.labels()
        coords = {name: values for name, values in labels.items() if values is not None}
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name in self.metrics:
            grid = self.grid(self.values[name], name)
            data[name] = self.labelled(grid[0], labels)
            if len(self.plan.variants) > 1:
                dims, values = self.labelled(grid[1:], labels, leading=("control",))
                data[f"{name}_control"] = (dims, values)
                coords["control"] = list(self.plan.variants[1:])
            for end, values in (("donor", self.donor[name]), ("recipient", self.recipient[name])):
                data[f"{name}_{end}"] = self.end_labelled(typed(values, name))
        data["attractor"] = self.end_labelled(self.attractor)
        return xr.Dataset(data, coords=coords)

    def labels(self) -> Labels:
        """Axes of the grid in order, with their labels; None for an axis that was not asked for."""
        plan = self.plan
        heads = sorted({cell.head for cell in plan.cells if cell.head is not None})
        return {
            "prompt": list(range(plan.n_prompts)),
            "direction": [direction.name for direction in plan.directions],
            "site": plan.request.labels(),
            "layer": list(plan.request.layers),
            "head": heads or None,
            "position": None if plan.positions == (None,) else [p for p in plan.positions if p is not None],
            "read_at": list(plan.reads) if len(plan.reads) > 1 else None,
        }

    def grid(self, values: np.ndarray, name: str) -> np.ndarray:
        """Values of all cells over variant and the axes of `labels`, each with one entry where it was not asked for."""
        labels = self.labels()
        places = {axis: {v: i for i, v in enumerate(labels[axis] or [None])} for axis in labels}
        axes = ("site", "layer", "head", "position")
        sizes = [len(places[axis]) for axis in axes]
        variants, directions, _, prompts, reads = values.shape
        grid = np.full((variants, directions, *sizes, prompts, reads), np.nan)
        cells = self.plan.cells
        at = tuple(np.asarray([places[axis][getattr(cell, axis)] for cell in cells], dtype=int) for axis in axes)
        grid[(slice(None), slice(None), *at)] = values
        return typed(np.moveaxis(grid, -2, 1), name)

    def labelled(
        self, grid: np.ndarray, labels: Labels, leading: tuple[str, ...] = ()
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """A grid without the axes that were not asked for, and the names of those left."""
        skipped = tuple(i + len(leading) for i, values in enumerate(labels.values()) if values is None)
        return (*leading, *(name for name, values in labels.items() if values is not None)), grid.squeeze(skipped)

    def end_labelled(self, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        """Values over direction, prompt and read position, with the prompt first."""
        values = np.moveaxis(values, 1, 0)
        if len(self.plan.reads) > 1:
            return ("prompt", "direction", "read_at"), values
        return ("prompt", "direction"), values[..., 0]


def typed(values: np.ndarray, name: str) -> np.ndarray:
    """Token ids as integers (-1 where missing), all else as float32."""
    if name in IDS:
        return np.where(np.isnan(values), -1, values).astype(np.int32)
    return values.astype(np.float32)
