"""The slow way: one full forward pass under hooks for every patched run. What the fast sweep must equal."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from mcinterp.batching import pad
from mcinterp.chain import Stage
from mcinterp.divergence import log_probs
from mcinterp.intervene.cells import Edit
from mcinterp.intervene.donors import Draw, replacement
from mcinterp.intervene.means import MeanTable
from mcinterp.intervene.plan import Batch, Branch, Plan
from mcinterp.intervene.sites import SITES, carried, hook_name
from mcinterp.intervene.sweep import Ends, Finals, Tick, active_sequences


def run_plainly(plan: Plan, batch: Batch, means: MeanTable, tick: Tick) -> Iterator[Ends | Finals]:
    """The clean ends of a batch, then each branch's distributions; see `mcinterp.intervene.sweep.run_sweep`."""
    yield plain_ends(plan, batch)
    clean = CleanRuns(plan)
    for index, branch in enumerate(batch.branches):
        columns = plan.read_columns(branch.sequence)
        reads = [read for read, column in enumerate(columns) if column >= 0]
        logits = patched_logits(plan, branch, means, clean)
        vocabulary = plan.chain.stages[branch.recipient].readout.vocabulary
        values = log_probs(logits[[columns[read] for read in reads], :vocabulary])
        yield Finals([index] * len(reads), reads, values)
    for _ in range(plan.chain.base.n_layers):
        tick()


def plain_ends(plan: Plan, batch: Batch) -> Ends:
    """Distributions of the clean runs, by each model's own forward pass."""
    found = {}
    for number, active in active_sequences(plan, batch).items():
        stage = plan.chain.stages[number]
        blank = torch.zeros(len(batch.sequences), len(plan.reads), stage.readout.vocabulary)
        for local, sequence in enumerate(batch.sequences):
            if sequence in active:
                values = log_probs(forward(stage, plan.ids[sequence], [])[:, : stage.readout.vocabulary])
                for read, column in enumerate(plan.read_columns(sequence)):
                    if column >= 0:
                        blank[local, read] = values[column].cpu()
        found[number] = blank
    return Ends(batch.sequences, found)


def forward(stage: Stage, ids: Sequence[int], hooks: list[tuple[str, Any]]) -> torch.Tensor:
    """Logits of one sequence at all its positions, under hooks."""
    batch = pad([ids])
    with stage.bridge.hooks(fwd_hooks=hooks):
        return stage.bridge(batch.tokens.to(stage.device), attention_mask=batch.attention.to(stage.device))[0].float()


class CleanRuns:
    """Activations of clean runs at all edited sites, kept for the prompts in use."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.edits: list[tuple[str, int]] = list(
            dict.fromkeys((edit.site, edit.layer) for cell in plan.cells for edit in cell.edits)
        )
        self.kept: dict[tuple[int, int], dict[tuple[str, int], torch.Tensor]] = {}

    def at(self, stage: int, sequence: int) -> dict[tuple[str, int], torch.Tensor]:
        """One run's activations by site and layer, tokens first."""
        if (stage, sequence) not in self.kept:
            found: dict[tuple[str, int], torch.Tensor] = {}

            def keep(place: tuple[str, int], activation: torch.Tensor, hook: Any) -> None:
                found[place] = tokens_first(place[0], activation).clone()

            hooks = [(hook_name(*place), partial(keep, place)) for place in self.edits]
            forward(self.plan.chain.stages[stage], self.plan.ids[sequence], hooks)
            self.kept[(stage, sequence)] = found
        return self.kept[(stage, sequence)]


def tokens_first(site: str, activation: torch.Tensor) -> torch.Tensor:
    """One sequence's activation with its tokens as the first axis."""
    return activation[0].transpose(0, 1) if SITES[site].axis == "pattern" else activation[0]


def patched_logits(plan: Plan, branch: Branch, means: MeanTable, clean: CleanRuns) -> torch.Tensor:
    """Logits of one branch at all positions, by one forward pass under hooks.

    Raises `LookupError` where a hook did not fire.
    """
    stage, ids = plan.chain.stages[branch.recipient], plan.ids[branch.sequence]
    edits, source = plan.cells[branch.cell].edits, branch.source
    own = clean.at(branch.recipient, branch.sequence)
    donor = clean.at(source.stage, source.sequence) if source.kind == "stage" else {}
    applied: set[Edit] = set()

    def change(edit: Edit, activation: torch.Tensor, hook: Any) -> torch.Tensor:
        changed = activation.clone()
        rows = tokens_first(edit.site, changed)
        given = donor_rows(plan, branch, edit, donor.get((edit.site, edit.layer)), means)
        part = slice(None) if edit.part is None else list(edit.part)
        draws = [Draw(plan.seed, branch.sequence, edit.site, edit.layer, c, edit.part) for c in branch.columns]
        mine = own[(edit.site, edit.layer)][list(branch.columns)][:, part]
        new = replacement(
            source.kind, mine, None if given is None else given[:, part].to(mine), draws, random=source.random
        )
        for place, column in enumerate(branch.columns):
            rows[column, part] = new[place]
        applied.add(edit)
        return changed

    logits = forward(stage, ids, carried([(hook_name(edit.site, edit.layer), partial(change, edit)) for edit in edits]))
    if len(applied) < len(edits):
        raise LookupError(f"stage {stage.name!r}: a hook of {edits} did not fire; its architecture has no such site.")
    return logits


def donor_rows(
    plan: Plan, branch: Branch, edit: Edit, donor: torch.Tensor | None, means: MeanTable
) -> torch.Tensor | None:
    """The donor's activations for the patched columns of a branch; for a mean, those of the table."""
    source = branch.source
    if source.kind == "mean":
        back = [plan.back_from(source.sequence) - column for column in branch.columns]
        return means[(source.stage, edit.site, edit.layer)][back]
    return None if donor is None else donor[[column + source.shift for column in branch.columns]]
