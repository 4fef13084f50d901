"""Runs of one stage whose activation at an autoencoder's place is changed, beside the unchanged runs of two stages."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from mcinterp.chain import Chain, Stage
from mcinterp.divergence import Followed
from mcinterp.errors import InputError
from mcinterp.features.activations import Rows, all_rows
from mcinterp.features.autoencoder import Code, SparseAutoencoder
from mcinterp.growth import grown_residuals, measured, rows_at_once
from mcinterp.intervene.metrics import OF_ONE_RUN
from mcinterp.intervene.places import PositionChoice, chosen_positions
from mcinterp.intervene.plan import Direction
from mcinterp.sequences import Sequences
from mcinterp.weights.scalar import Judged, judge

Change = Callable[[Rows], Rows]


class Runs:
    """Clean runs of donor and recipient at an autoencoder's place, and changed runs of the recipient as they are asked.

    `own` and `other` hold, prompt by prompt, the recipient's and the donor's activations at the patched tokens; `ends`
    the metrics of the clean runs; `noise` how far a copy that is run without a change was from its clean run (nats).
    """

    way: Direction
    sae: SparseAutoencoder
    noise: float
    recipient: Stage
    donor: Stage
    judged: Judged
    columns: list[list[int]]
    own: list[torch.Tensor]
    other: list[torch.Tensor]
    clean: torch.Tensor
    follow: Followed
    ends: dict[str, dict[str, np.ndarray]]

    def __init__(
        self,
        chain: Chain,
        way: Direction,
        sequences: Sequences,
        sae: SparseAutoencoder,
        positions: PositionChoice,
        read_at: int,
        attractor: int | None,
    ) -> None:
        self.way, self.sae, self.noise = way, sae, 0.0
        self.kept: tuple[int, tuple[Code, Code]] | None = None
        self.recipient, self.donor = chain.stages[way.recipient], chain.stages[way.donor]
        self.judged = judge(chain, sequences, (read_at,), attractor, earlier=min(way[1:]), later=max(way[1:]))
        require_read(self.judged, read_at)
        self.columns = [
            columns_of(sequences, prompt, positions, len(ids)) for prompt, ids in enumerate(self.judged.ids)
        ]
        each = [all_rows(stage, self.judged.ids, sae.hook, sae.width) for stage in (self.recipient, self.donor)]
        self.own, self.other = ([rows[c] for rows, c in zip(e, self.columns, strict=True)] for e in each)
        flipped = way.recipient > way.donor
        clean = (self.judged.later, self.judged.earlier) if flipped else (self.judged.earlier, self.judged.later)
        self.clean, self.follow = clean[0], Followed(self.judged.attractor, self.judged.rivals, self.judged.belongs)
        everything = torch.arange(len(self.own))
        measures = [measured(lambda rows: rows, q, q, everything, self.follow) for q in clean]
        self.ends = {
            end: {name: values[name].numpy() for name in OF_ONE_RUN}
            for end, values in zip(("recipient", "donor"), measures, strict=True)
        }

    def codes(self, prompt: int) -> tuple[Code, Code]:
        """What the autoencoder reads in a prompt's own activations and in the donor's; the newest prompt is kept."""
        if self.kept is None or self.kept[0] != prompt:
            self.kept = (prompt, (self.sae.read(self.own[prompt]), self.sae.read(self.other[prompt])))
        return self.kept[1]

    def patched(self, prompt: int, changes: Sequence[Change]) -> dict[str, np.ndarray]:
        """The metrics of one prompt's runs, one for each change of its activations.

        A change that leaves the activations as they are, bit for bit, reads exactly as the clean run.
        """
        found: dict[str, list[np.ndarray]] = {name: [np.empty(0)] for name in OF_ONE_RUN}
        size = rows_at_once(self.recipient, len(self.judged.ids[prompt])) - 1
        for start in range(0, len(changes), size):
            values, same = self.read(prompt, changes[start : start + size])
            for name in OF_ONE_RUN:
                own = self.ends["recipient"][name][prompt]
                self.noise = max(self.noise, abs(float(values[name][0]) - own))
                found[name].append(np.where(same, own, values[name][1:]))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def read(self, prompt: int, changes: Sequence[Change]) -> tuple[dict[str, np.ndarray], list[bool]]:
        """The metrics of an unchanged copy and of changed ones, and which changes changed nothing."""
        ids, columns = self.judged.ids[prompt], self.columns[prompt]
        rows, same = changed_residuals(self.recipient, ids, self.sae, columns, [None, *changes])
        clean = self.clean[prompt : prompt + 1].to(rows.device)
        follow = Followed(*(part[prompt : prompt + 1] for part in self.follow))
        first = torch.zeros(len(rows), dtype=torch.long)
        values = measured(self.recipient.readout.log_probs, rows, clean, first, follow)
        return {name: values[name].numpy() for name in OF_ONE_RUN}, same[1:]


def require_read(judged: Judged, read_at: int) -> None:
    """Refuse a read position that some sequence does not have."""
    short = [prompt for prompt, columns in enumerate(judged.columns) if columns[0] < 0]
    if short:
        raise InputError(
            f"position {read_at} was to be read and sequence {short[0]} ends before it; choose an earlier one or "
            f"teacher-force a longer completion."
        )


def columns_of(
    sequences: Sequences, prompt: int, positions: PositionChoice, length: int, *, skip: int = 0
) -> list[int]:
    """Columns of some positions of a prompt; none behind the last read one, and not its first `skip`."""
    first = len(sequences.prompts.token_ids[prompt]) - 1
    there = [first + position for position in chosen_positions(sequences, prompt, positions)]
    return [column for column in there if skip <= column < length]


def changed_residuals(
    stage: Stage, ids: Sequence[int], sae: SparseAutoencoder, columns: Sequence[int], changes: Sequence[Change | None]
) -> tuple[Float[torch.Tensor, "row d_model"], list[bool]]:
    """Final residuals at the last token of one prompt's copies, each with its change of the activations at the place.

    Also says which changes left everything as it was. Raises `LookupError` where the hook did not fire.
    """
    same: list[bool] = []

    def edit(activation: torch.Tensor) -> torch.Tensor:
        new = activation.clone()
        flat = new.view(*new.shape[:2], -1)
        for row, change in enumerate(changes):
            own = activation[row].flatten(1)[list(columns)]
            put = own if change is None else change(own.float().cpu()).to(own)
            flat[row, list(columns)] = put
            same.append(torch.equal(put, own))
        return new

    return grown_residuals(stage, ids, sae.layer, len(changes), [(sae.hook, edit)]), same
