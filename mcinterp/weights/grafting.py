"""Many grafts in one pass over the layers: each runs beside the clean stage from the first layer that it changes.

A graft changes nothing below its first layer, so it starts there as a copy of the clean run; all of them go through a
layer before the next is entered. The numbers are those of one forward pass a graft.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from mcinterp.capture import bytes_a_token
from mcinterp.chain import Chain, Stage
from mcinterp.errors import InputError
from mcinterp.intervene.plan import Direction
from mcinterp.passes import BatchRun, recorded
from mcinterp.progress import Progress
from mcinterp.weights.groups import Group, Member, tensors_from
from mcinterp.weights.scalar import Judged, LogProbs, Reads, Scalar, inputs_of, log_probs_of, rows_of
from mcinterp.weights.tensors import installed, slots_of

HEAD = ("ln_final", "unembed")
Found = tuple[int, list[int], LogProbs]


@dataclass(frozen=True)
class Graft:
    """Weights that one graft takes from the donor, by layer; None for those outside the layers."""

    recipient: Stage
    donor: Stage
    groups: tuple[Group, ...]

    @cached_property
    def by_layer(self) -> dict[int | None, list[Member]]:
        """Its tensors (or parts of them) in each layer."""
        slots = slots_of(self.recipient)
        found: dict[int | None, list[Member]] = {}
        for member in (member for group in self.groups for member in group.members):
            found.setdefault(slots[member.tensor].layer, []).append(member)
        return found

    @property
    def enters_layers(self) -> bool:
        """Whether weights below the first layer are changed."""
        slots = slots_of(self.recipient)
        return any(slots[m.tensor].role.split(".")[0] not in HEAD for m in self.by_layer.get(None, ()))

    def tensors(self, layer: int | None) -> dict[str, torch.Tensor]:
        """The recipient's tensors of a layer with those of the donor in their place."""
        members = tuple(self.by_layer.get(layer, ()))
        return tensors_from(self.recipient, self.donor, [Group("", "", layer, None, members)]) if members else {}


@torch.inference_mode()
def graft_values(
    chain: Chain, way: Direction, grafts: Sequence[Sequence[Group]], judged: Judged, metrics: Mapping[str, Scalar]
) -> list[dict[str, np.ndarray]]:
    """Metrics of the recipient with each of some sets of groups of the donor's weights, for every prompt."""
    recipient, donor = chain.stages[way.recipient], chain.stages[way.donor]
    found = [{name: np.empty(len(judged.rows)) for name in metrics} for _ in grafts]
    listed = [Graft(recipient, donor, tuple(groups)) for groups in grafts]
    for number, rows, log_probs in distributions_of(recipient, listed, judged, chain.hold.wave_bytes):
        reading = judged.reading(log_probs, rows)
        for name, metric in metrics.items():
            found[number][name][rows] = metric(reading).double().cpu().numpy()
    return [{name: judged.by_prompt(values) for name, values in each.items()} for each in found]


def distributions_of(stage: Stage, grafts: Sequence[Graft], judged: Judged, max_bytes: int) -> Iterator[Found]:
    """Log-probabilities of all rows under each graft (its number first), batch by batch."""
    batches = list(judged.batches(stage.readout.vocabulary))
    if not runs_by_layers(stage, batches[0]):
        yield from one_by_one(stage, grafts, batches)
        return
    most = max(each.batch.tokens.numel() for each in batches) * bytes_a_token(stage, 1)
    at_once = max(1, min(len(grafts), max_bytes // most - 1))
    wave = max(1, max_bytes // (most * (at_once + 1)))
    pieces = [(s, g) for s in range(0, len(batches), wave) for g in range(0, len(grafts), at_once)]
    with Progress(total=len(pieces) * stage.n_layers, desc=f"{stage.name} grafts", unit="layer") as progress:
        for start, first in pieces:
            chosen = grafts[first : first + at_once]
            for number, rows, log_probs in through_layers(
                stage, chosen, batches[start : start + wave], progress.update
            ):
                yield first + number, rows, log_probs


def runs_by_layers(stage: Stage, reads: Reads) -> bool:
    """Whether the stage's layers can run one after the other outside its own forward pass."""
    try:
        recorded(stage, inputs_of(reads))
    except InputError:
        if stage.hold.in_turns:
            raise
        return False
    return True


def one_by_one(stage: Stage, grafts: Sequence[Graft], batches: Sequence[Reads]) -> Iterator[Found]:
    """One forward pass a graft and batch."""
    for number, graft in enumerate(grafts):
        with installed(stage, tensors_from(graft.recipient, graft.donor, graft.groups)):
            for reads in batches:
                yield number, reads.rows, log_probs_of(stage, reads)


def through_layers(
    stage: Stage, grafts: Sequence[Graft], batches: Sequence[Reads], tick: Callable[[], object]
) -> Iterator[Found]:
    """All grafts of some batches through the layers together."""
    clean = [BatchRun(stage, inputs_of(reads)) for reads in batches]
    runs: list[list[BatchRun] | None] = [None] * len(grafts)
    for number, graft in enumerate(grafts):
        if graft.enters_layers:
            with installed(stage, graft.tensors(None)):
                runs[number] = [BatchRun(stage, inputs_of(reads)) for reads in batches]
    for layer in range(stage.n_layers):
        for number, graft in enumerate(grafts):
            if layer in graft.by_layer:
                runs[number] = runs[number] or [run.fork() for run in clean]
            advance(stage, runs[number] or (), layer, graft.tensors(layer))
        if any(each is None for each in runs):
            advance(stage, clean, layer, {})
        tick()
    for number, graft in enumerate(grafts):
        with installed(stage, graft.tensors(None)):
            for reads, run in zip(batches, runs[number] or clean, strict=True):
                yield number, reads.rows, rows_of(stage, reads, run.logits())


def advance(stage: Stage, runs: Sequence[BatchRun], layer: int, tensors: Mapping[str, torch.Tensor]) -> None:
    """Some runs through a layer, with other weights in it for that long."""
    if runs:
        with installed(stage, tensors):
            for run in runs:
                run.advance(layer)
