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

from mcinterp.batching import pad
from mcinterp.budget import allowed
from mcinterp.chain import Stage
from mcinterp.divergence import log_probs
from mcinterp.intervene.dissection import KeyStore, Recorded, record, run_layer
from mcinterp.intervene.editing import Editor, Held, plan_edits
from mcinterp.intervene.layout import Entry, Group, Ids, Span, Tokens, entry_of, group_size, groups_of
from mcinterp.intervene.means import Means, MeanTable
from mcinterp.intervene.plan import Batch, Plan

CALL_BYTES = 8 * 2**20
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


class StageRun:
    """One stage's part of a batch: its tokens, their hidden states, keys and values, and its edits."""

    stage: Stage
    editor: Editor
    tokens: Tokens
    reads: np.ndarray

    def __init__(
        self, stage: Stage, editor: Editor, ids: Sequence[Sequence[int]], active: Sequence[bool], reads: np.ndarray
    ) -> None:
        self.stage, self.editor, self.tokens, self.reads = stage, editor, editor.tokens, reads
        self.recorded: Recorded = record(stage, pad(ids))
        hidden = self.recorded.hidden
        self.hidden: torch.Tensor = hidden.new_zeros(self.tokens.n + 1, hidden.shape[-1])
        self.restart()
        self.store: KeyStore = KeyStore(self.tokens.n)
        self.clean_end: tuple[torch.Tensor, torch.Tensor] = (self.hidden[:0], self.hidden[:0])
        self.laid_out: tuple[tuple[bytes | int, ...], list[Entry]] | None = None
        self.masks: dict[tuple[int, int], torch.Tensor] = {}
        none = np.empty(0, dtype=np.int64)
        self.trunks: list[Ids] = [self.tokens.trunk(i) if on else none for i, on in enumerate(active)]
        self.clean: Ids = np.concatenate(self.trunks)

    @property
    def number(self) -> int:
        """The stage's number in the chain."""
        return self.editor.number

    def restart(self) -> None:
        """Put the clean tokens back before the first layer."""
        hidden = self.recorded.hidden
        self.hidden[: self.tokens.n_trunk] = hidden.reshape(-1, hidden.shape[-1])

    def begin(self, layer: int) -> list[Ids]:
        """Let the branches of a layer begin as copies of their clean tokens; gives all branch tokens alive."""
        tokens = self.tokens
        new = np.flatnonzero(tokens.layer[tokens.n_trunk : tokens.n] == layer) + tokens.n_trunk
        if len(new):
            twins = tokens.trunk_id(tokens.sequence[new], tokens.column[new])
            self.hidden[self.put(new)] = self.hidden[self.put(twins)]
        return tokens.branches(layer)

    def put(self, ids: np.ndarray) -> torch.Tensor:
        """Token numbers as a tensor beside the hidden states."""
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self.hidden.device)

    def donors(self) -> set[int]:
        """Other stages whose clean tokens are needed in any layer."""
        waited = set().union(*(self.waits_for(layer) for layer in range(self.stage.n_layers)))
        return waited - {self.number}

    def waits_for(self, layer: int) -> set[int]:
        """Stages whose clean tokens must have run this layer before branches here can be edited in it."""
        found = set()
        for place in self.editor.places(layer):
            for group in self.editor.groups.get(place, ()):
                if group.kind == "stage":
                    elsewhere = group.stage != self.number
                    other = any(
                        target.donor // self.tokens.width != target.own // self.tokens.width for target in group.targets
                    )
                    found |= {group.stage} if elsewhere or other else set()
        return found

    def enter(self, layer: int, alive: list[Ids], *, trunk: bool, branches: bool) -> None:
        """Run a layer for the clean tokens, those of branches, or both."""
        entering = [
            np.concatenate([clean if trunk else clean[:0], own if branches else own[:0]])
            for clean, own in zip(self.trunks, alive, strict=True)
        ]
        if layer < self.stage.n_layers - 1:
            return self.call(layer, entering, alive)
        whole = self.needed(layer)
        self.call(layer, [ids[~np.isin(ids, whole)] for ids in entering], alive, stop=True)
        return self.call(layer, [ids[np.isin(ids, whole)] for ids in entering], alive)

    def needed(self, layer: int) -> Ids:
        """Tokens that must leave the last layer: those read, kept or edited in it."""
        edited = [
            target.id
            for place in self.editor.places(layer)
            for group in self.editor.groups.get(place, ())
            for target in group.targets
        ]
        kept = [self.editor.wanted_at(layer), self.editor.wanted_at(layer + 1)]
        return np.unique(np.concatenate([self.reads, np.asarray(edited, dtype=np.int64), *kept]))

    def call(self, layer: int, entering: list[Ids], alive: list[Ids], *, stop: bool = False) -> None:
        """Run a layer for some tokens, in calls that keep its activations small."""
        counts = [len(ids) for ids in entering]
        if not sum(counts):
            return
        for entry in self.entries(counts, entering, alive):
            self.call_entry(layer, entry, stop=stop)

    def entries(self, counts: list[int], entering: list[Ids], alive: list[Ids]) -> list[Entry]:
        """Tokens laid out for a layer; kept for the next layer, which often takes the same ones."""
        key = (*(ids.tobytes() for ids in entering), *(len(own) for own in alive))
        if self.laid_out is None or self.laid_out[0] != key:
            groups = list(groups_of(self.tokens, entering, alive, self.size(counts, entering, alive)))
            each = max(1, self.tokens_a_call() // max(len(group.ids) for group in groups))
            parts = [groups[start : start + each] for start in range(0, len(groups), each)]
            self.laid_out = (key, [entry_of(self.tokens, part, self.stage.device) for part in parts])
            self.masks.clear()
        return self.laid_out[1]

    def size(self, counts: list[int], entering: list[Ids], alive: list[Ids]) -> int:
        """Tokens a group, from how many enter and how many stored tokens of its branch each attends to."""
        stored = sum(len(own) for ids, own in zip(entering, alive, strict=True) if len(ids)) / sum(counts)
        return group_size(counts, self.tokens.width, stored, int(self.stage.bridge.cfg.d_model))

    def tokens_a_call(self) -> int:
        """Tokens whose widest activation fits in `CALL_BYTES`, more where a device is faster than its launches."""
        config = self.stage.bridge.cfg
        widest = max(int(config.d_model), int(getattr(config, "d_mlp", 0) or 0))
        scale = 1 if self.stage.device == "cpu" else 16
        return allowed(max(256, scale * CALL_BYTES // (4 * widest)))

    def call_entry(self, layer: int, entry: Entry, *, stop: bool) -> None:
        """Run a layer for some tokens at once."""
        self.editor.expect(layer, None if stop else entry)
        mask = self.mask(entry, self.recorded.allowed[layer])
        self.store.expect(entry.ids, entry.keys, stop=stop)
        hidden = self.hidden[entry.ids]
        out = run_layer(self.stage, self.recorded, layer, hidden, entry.sequence, entry.column, mask, self.store)
        self.editor.expect(layer, None)
        if out is not None:
            self.hidden.index_copy_(0, entry.ids.flatten(), out.flatten(0, 1).to(self.hidden.device))

    def mask(self, entry: Entry, allowed: torch.Tensor) -> torch.Tensor:
        """The mask of some tokens; layers of one kind share it as long as the same tokens enter."""
        key = (id(entry), id(allowed))
        if key not in self.masks:
            self.masks[key] = entry.mask(allowed, self.hidden.dtype)
        return self.masks[key]

    def normed(self, ids: Ids) -> torch.Tensor:
        """The final norm of some tokens, its hooks firing; rows in order."""
        groups = [Group(0, ids, ids[:0])]
        self.editor.expect(self.stage.n_layers, final_entry(self.tokens, groups[0], self.stage.device))
        rows = self.stage.bridge.ln_final(self.hidden[self.put(ids)].unsqueeze(0))
        self.editor.expect(self.stage.n_layers, None)
        return rows[0].to(self.stage.readout.weight.device, torch.float32)


def final_entry(tokens: Tokens, group: Group, device: str) -> Entry:
    """Tokens behind the last layer, where nothing is attended to."""
    ids = torch.from_numpy(group.ids[None]).to(device)
    none = torch.zeros(1, len(group.ids), 0, dtype=torch.bool, device=device)
    return Entry(ids, ids, ids, None, ids[:, :0], none)


@dataclass(frozen=True)
class Sweep:
    """A batch laid out for every stage that takes part in it; `numbers` are the branches' numbers in their stage."""

    plan: Plan
    batch: Batch
    runs: dict[int, StageRun]
    held: Held
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
        self.held.drop()

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


def lay_out(plan: Plan, batch: Batch, means: MeanTable, held: Held) -> Sweep:
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
        editors[stage] = Editor(plan.chain.stages[stage], stage, tokens, held, means_here)
    plan_edits(editors, plan, batch, local, numbers)
    runs = {}
    for stage in sorted(active, key=lambda stage: (bool(spans[stage]), stage)):
        on = [sequence in active[stage] for sequence in batch.sequences]
        reads = read_ids(plan, batch, editors[stage], on, numbers)
        runs[stage] = StageRun(plan.chain.stages[stage], editors[stage], ids, on, reads)
    return Sweep(plan, batch, runs, held, numbers)


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
    sweep = lay_out(plan, batch, means, Held())
    with ExitStack() as hooks:
        for run in sweep.runs.values():
            hooks.enter_context(run.stage.bridge.hooks(fwd_hooks=run.editor.hooks()))
        for layer in range(plan.chain.base.n_layers):
            sweep.advance(layer)
            tick()
        yield sweep.ends()
        yield from sweep.finals()
