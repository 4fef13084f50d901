"""Runs a whole batch of patched runs in one pass over the layers, all stages in lockstep.

Each layer runs once for the clean sequences of every stage and for the tokens of all branches that have begun, so the
weights are touched once or twice whatever the number of cells. In the last layer, tokens that nothing reads stop at
their keys and values.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from mcinterp.budget import allowed
from mcinterp.divergence import log_probs
from mcinterp.intervene.clean_rows import CleanRows
from mcinterp.intervene.editing import Editor, plan_edits
from mcinterp.intervene.layout import Span, Tokens
from mcinterp.intervene.means import Means, MeanTable
from mcinterp.intervene.plan import Batch, Plan
from mcinterp.intervene.stage_run import StageRun

LOGIT_BYTES = 64 * 2**20

Tick = Callable[[], object]


class Ends(NamedTuple):
    """Log-probabilities of the clean runs by stage, over sequence, read position and vocabulary."""

    sequences: tuple[int, ...]
    by_stage: dict[int, Float[torch.Tensor, "sequence read vocabulary"]]


class Finals(NamedTuple):
    """Log-probabilities of some branches (numbers within the batch) at some of the read positions."""

    branches: list[int]
    reads: list[int]
    log_probs: Float[torch.Tensor, "row vocabulary"]


@dataclass(frozen=True)
class Sweep:
    """A batch laid out for every stage that takes part in it; `numbers` are the branches' numbers in their stage."""

    plan: Plan
    batch: Batch
    runs: dict[int, StageRun]
    clean_rows: CleanRows
    numbers: list[int]

    @cached_property
    def local(self) -> dict[int, int]:
        """The place of each sequence in the batch."""
        return {sequence: place for place, sequence in enumerate(self.batch.sequences)}

    def advance(self, layer: int) -> None:
        """One layer for all stages: clean tokens first, branches as soon as their donors have run."""
        alive = {number: run.begin(layer) for number, run in self.runs.items()}
        done, pending = set[int](), []
        for number, run in self.runs.items():
            together = run.waits_for(layer) <= done
            run.enter(layer, alive[number], trunk=True, branches=together)
            done.add(number)
            pending += [] if together else [number]
        for number in pending:
            self.runs[number].enter(layer, alive[number], trunk=False, branches=True)
        for run in self.runs.values():
            run.editor.require_applied(layer)
        self.clean_rows.drop()

    def ends(self) -> Ends:
        """Distributions of the clean runs; the final norm keeps of them what branches need."""
        found = {}
        for number, run in self.runs.items():
            run.begin(run.stage.n_layers)
            reads = self.clean_reads(run)
            ids = np.union1d(reads, run.editor.wanted_at(run.stage.n_layers))
            normed = run.normed(ids)[torch.from_numpy(np.searchsorted(ids, reads.flatten()))]
            run.clean_end = (normed, run.stage.readout.product(normed))
            found[number] = log_probs(run.stage.readout.finish(run.clean_end[1])).view(*reads.shape, -1)
        return Ends(self.batch.sequences, found)

    def clean_reads(self, run: StageRun) -> np.ndarray:
        """The clean token at each sequence's read positions; any token where there is none, which nobody reads."""
        table = np.full((len(self.batch.sequences), len(self.plan.reads)), run.clean[-1])
        for local, sequence in enumerate(self.batch.sequences):
            for read, column in enumerate(self.plan.read_columns(sequence)):
                if column >= 0 and len(run.trunks[local]):
                    table[local, read] = run.tokens.trunk_id(local, column)
        return table

    def finals(self) -> Iterator[Finals]:
        """Distributions of the branches at the read positions, a few rows at a time."""
        for number, run in self.runs.items():
            rows = [row for row in self.rows() if self.batch.branches[row[0]].recipient == number]
            size = max(1, allowed(LOGIT_BYTES) // (4 * run.stage.readout.vocabulary))
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                yield Finals([branch for branch, _, _ in part], [read for _, read, _ in part], self.read_out(run, part))
            run.editor.require_applied(run.stage.n_layers)

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Every branch with each of its read positions and their columns."""
        for index, branch in enumerate(self.batch.branches):
            for read, column in enumerate(self.plan.read_columns(branch.sequence)):
                if column >= 0:
                    yield index, read, column

    def read_out(self, run: StageRun, rows: list[tuple[int, int, int]]) -> torch.Tensor:
        """Log-probabilities of some branches at read positions.

        The unembedding is applied to what changed against the clean run and added to the clean run's product, so that
        small effects are not lost in the rounding of large logits.
        """
        normed = run.normed(
            np.asarray([run.tokens.branch_id(self.numbers[branch], column) for branch, _, column in rows])
        )
        places = [
            self.local[self.batch.branches[branch].sequence] * len(self.plan.reads) + read for branch, read, _ in rows
        ]
        clean, product = run.clean_end
        change = run.stage.readout.product(normed - clean[places])
        return log_probs(run.stage.readout.finish(change.add_(product[places])))


def lay_out(plan: Plan, batch: Batch, means: MeanTable, clean_rows: CleanRows) -> Sweep:
    """Number the tokens of a batch, plan its edits, and record what every stage passes to its layers."""
    local = {sequence: place for place, sequence in enumerate(batch.sequences)}
    ids = [plan.ids[sequence] for sequence in batch.sequences]
    active = active_sequences(plan, batch)
    editors, numbers = {}, []
    spans: dict[int, list[Span]] = {stage: [] for stage in active}
    for branch in batch.branches:
        numbers.append(len(spans[branch.recipient]))
        last = max(plan.read_columns(branch.sequence))
        layer = plan.cells[branch.cell].first_layer
        spans[branch.recipient].append(Span(local[branch.sequence], layer, min(branch.columns), last))
    means_here = Means(means, [plan.back_from(sequence) for sequence in batch.sequences])
    for stage in active:
        tokens = Tokens([len(each) for each in ids], spans[stage])
        editors[stage] = Editor(plan.chain.stages[stage], stage, tokens, clean_rows, means_here)
    plan_edits(editors, plan, batch, local, numbers)
    runs = {}
    for stage in sorted(active, key=lambda stage: (bool(spans[stage]), stage)):
        on = [sequence in active[stage] for sequence in batch.sequences]
        reads = read_ids(plan, batch, editors[stage], on, numbers)
        runs[stage] = StageRun(plan.chain.stages[stage], editors[stage], ids, on, reads)
    return Sweep(plan, batch, runs, clean_rows, numbers)


def active_sequences(plan: Plan, batch: Batch) -> dict[int, set[int]]:
    """By stage, the sequences whose clean run is needed: patched, donated, or read as an end."""
    active: dict[int, set[int]] = {}
    for branch in batch.branches:
        donor = plan.directions[branch.direction].donor
        active.setdefault(branch.recipient, set()).add(branch.sequence)
        active.setdefault(donor, set()).add(plan.end_sequence(branch.sequence))
        if branch.source.kind == "stage":
            active.setdefault(branch.source.stage, set()).add(branch.source.sequence)
        active.setdefault(0, set()).add(branch.sequence)
        active.setdefault(max(plan.directions[branch.direction][1:]), set()).add(branch.sequence)
    return active


def read_ids(plan: Plan, batch: Batch, editor: Editor, on: Sequence[bool], numbers: Sequence[int]) -> np.ndarray:
    """All tokens of a stage whose final hidden state is read."""
    tokens = editor.tokens
    clean = [
        int(tokens.trunk_id(local, column))
        for local, sequence in enumerate(batch.sequences)
        if on[local]
        for column in plan.read_columns(sequence)
        if column >= 0
    ]
    patched = [
        tokens.branch_id(numbers[index], column)
        for index, branch in enumerate(batch.branches)
        if branch.recipient == editor.number
        for column in plan.read_columns(branch.sequence)
        if column >= 0
    ]
    return np.asarray(clean + patched, dtype=np.int64)


def run_sweep(plan: Plan, batch: Batch, means: MeanTable, tick: Tick) -> Iterator[Ends | Finals]:
    """The clean ends of a batch, then its branches' distributions, some rows at a time."""
    sweep = lay_out(plan, batch, means, CleanRows())
    with ExitStack() as hooks:
        for run in sweep.runs.values():
            hooks.enter_context(run.stage.bridge.hooks(fwd_hooks=run.editor.hooks()))
        for layer in range(plan.chain.base.n_layers):
            sweep.advance(layer)
            tick()
        yield sweep.ends()
        yield from sweep.finals()
