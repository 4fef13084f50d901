"""All patched runs of a sweep: each cell in each direction from each donor, prompt by prompt, in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.cells import Cell, Request, cells_of, position_labels
from mcinterp.intervene.places import chosen_positions
from mcinterp.intervene.sites import SITES
from mcinterp.sequences import Sequences

Kind = Literal["stage", "noop", "mean", "zero"]
DONORS: dict[str, Kind] = {"same": "stage", "mean": "mean", "zero": "zero"}
CONTROLS = ("noop", "random", "shuffled")


class Direction(NamedTuple):
    """Donor and recipient, as stage numbers of the chain; its name is `donor_to_recipient`."""

    name: str
    donor: int
    recipient: int


class Source(NamedTuple):
    """Where a run's new activations come from: a stage's clean run on a sequence, `shift` columns further on.

    With `random` they lie as far from the own ones, in a random direction.
    """

    kind: Kind
    stage: int
    sequence: int
    shift: int
    random: bool = False


class Branch(NamedTuple):
    """One patched run: its place in the result, its recipient and its sequence, the columns patched, and the source."""

    variant: int
    direction: int
    cell: int
    sequence: int
    recipient: int
    columns: tuple[int, ...]
    source: Source


@dataclass(frozen=True)
class Plan:
    """What a sweep computes.

    `ids` are the token sequences: the prompts, then donor prompts where there are some. `variants` are the donor asked
    for and its controls. `reads` are the positions whose logits are read.
    """

    chain: Chain
    sequences: Sequences
    ids: list[tuple[int, ...]]
    directions: tuple[Direction, ...]
    cells: tuple[Cell, ...]
    positions: tuple[int | None, ...]
    variants: tuple[str, ...]
    reads: tuple[int, ...]
    request: Request
    donor: str
    partners: dict[int, int]
    seed: int

    @property
    def n_prompts(self) -> int:
        """Prompts that are patched."""
        return len(self.sequences)

    def column(self, sequence: int, position: int) -> int:
        """The column of a position in a sequence; donor prompts line up with their prompts at the end."""
        return len(self.sequences.prompts.token_ids[sequence % self.n_prompts]) - 1 + position

    def end_sequence(self, sequence: int) -> int:
        """The sequence on which a prompt's donor runs: its own, or its donor prompt."""
        return sequence + self.n_prompts if len(self.ids) > self.n_prompts else sequence

    def read_columns(self, sequence: int) -> list[int]:
        """The columns that are read in a sequence; -1 where it is shorter."""
        columns = [self.column(sequence, position) for position in self.reads]
        return [column if column < len(self.ids[sequence]) else -1 for column in columns]

    def back_from(self, sequence: int) -> int:
        """How far the furthest position of any sequence lies behind a sequence's first column."""
        return self.furthest + self.column(sequence, 0)

    @cached_property
    def furthest(self) -> int:
        """The largest position that any sequence has."""
        return max(len(ids) - 1 - self.column(sequence, 0) for sequence, ids in enumerate(self.ids))

    def branches(self, prompt: int) -> Iterator[Branch]:
        """All runs of one prompt, in the order of variants, directions and cells."""
        there = chosen_positions(self.sequences, prompt, self.request.positions, optional=self.request.each_position)
        whole = tuple(self.column(prompt, position) for position in there)
        last = max(self.read_columns(prompt))
        for variant, name in enumerate(self.variants):
            for number, direction in enumerate(self.directions):
                for index, cell in enumerate(self.cells):
                    columns = (
                        whole
                        if cell.position is None
                        else tuple(self.column(prompt, p) for p in there if p == cell.position)
                    )
                    source = self.source(name, direction, cell, prompt, columns)
                    if source is not None and columns and min(columns) <= last:
                        kept = tuple(column for column in columns if column <= last)
                        yield Branch(variant, number, index, prompt, direction.recipient, kept, source)

    def source(
        self, variant: str, direction: Direction, cell: Cell, prompt: int, columns: tuple[int, ...]
    ) -> Source | None:
        """Where the activations of one run come from; None where a control is not defined."""
        if variant == "shuffled":
            return self.shuffled(direction, cell, prompt, columns)
        asked = Source(DONORS[self.donor], direction.donor, self.end_sequence(prompt), 0, random=variant == "random")
        return asked._replace(kind="noop") if variant == "noop" else asked

    def shuffled(self, direction: Direction, cell: Cell, prompt: int, columns: tuple[int, ...]) -> Source | None:
        """The donor stage on another prompt, aligned where the answer begins."""
        partner = self.partners.get(prompt)
        if partner is None:
            return None
        shift = self.column(partner, 0) - self.column(prompt, 0)
        by_column = any(SITES[edit.site].axis == "pattern" for edit in cell.edits)
        ends = (min(columns, default=0) + shift, max(columns, default=0) + shift)
        if ends[0] < 0 or ends[1] >= len(self.ids[partner]) or (by_column and shift):
            return None
        return Source("stage", direction.donor, partner, shift)


def directions_of(chain: Chain, names: Sequence[str], *, same_run: bool) -> tuple[Direction, ...]:
    """Directions by name: `base_to_tuned` puts the base's activations into the last stage's run; stage names also work.

    Raises `InputError` for unknown stages, and, with `same_run`, where donor and recipient are the same.
    """
    aliases = {"tuned": len(chain.names) - 1, "base": 0} | {name: i for i, name in enumerate(chain.names)}
    pairs = {f"{donor}_to_{recipient}": (donor, recipient) for donor in aliases for recipient in aliases}
    found = []
    for name in (names,) if isinstance(names, str) else names:
        if name not in pairs:
            raise InputError(
                f"direction {name!r} is unknown; give DONOR_to_RECIPIENT with stages among {', '.join(aliases)}."
            )
        donor, recipient = (aliases[end] for end in pairs[name])
        if same_run and donor == recipient:
            raise InputError(
                f"direction {name!r} puts a run's own activations back; give donor_prompts, donor='mean' or 'zero', or "
                f"two stages."
            )
        found.append(Direction(name, donor, recipient))
    if not found:
        raise InputError("no direction was given; give base_to_tuned, tuned_to_base or both.")
    return tuple(found)


def partners_of(sequences: Sequences) -> dict[int, int]:
    """For every prompt another one for the shuffled control.

    The nearest in length that is at least as long and of another template; of the same template where there is no
    other; a shorter one where none is as long. Missing where all prompts are the same tokens.
    """
    ids, templates = sequences.prompts.token_ids, sequences.prompts.templates
    partners: dict[int, int] = {}
    for prompt, own in enumerate(ids):
        others = [
            (len(other) < len(own), templates[i] == templates[prompt], abs(len(other) - len(own)), i)
            for i, other in enumerate(ids)
            if other != own
        ]
        if others:
            partners[prompt] = min(others)[-1]
    return partners


class Batch(NamedTuple):
    """Branches that run together, and the sequences they need, recipients' own ones first."""

    sequences: tuple[int, ...]
    branches: tuple[Branch, ...]


def batches_of(plan: Plan, max_tokens: int, max_sequences: int) -> Iterator[Batch]:
    """Batches of at most `max_tokens` tokens (as far as one branch allows), longest prompts first.

    A prompt whose branches do not fit in one batch is continued in the next.
    """
    order = sorted(range(plan.n_prompts), key=lambda i: -len(plan.ids[i]))
    waiting: list[Branch] = []
    count, prompts = 0, set[int]()
    for prompt in order:
        last = max(plan.read_columns(prompt))
        for branch in plan.branches(prompt):
            size = last - min(branch.columns) + 1
            full = count + size > max_tokens or (prompt not in prompts and len(prompts) >= max_sequences)
            if waiting and full:
                yield batch_of(plan, waiting)
                waiting, count, prompts = [], 0, set()
            if prompt not in prompts:
                prompts.add(prompt)
                count += len(plan.ids[prompt])
            waiting.append(branch)
            count += size
    if waiting:
        yield batch_of(plan, waiting)


def batch_of(plan: Plan, branches: Sequence[Branch]) -> Batch:
    """Branches with the sequences that they patch and draw from."""
    own = dict.fromkeys(branch.sequence for branch in branches)
    drawn = dict.fromkeys(plan.end_sequence(sequence) for sequence in own)
    drawn |= dict.fromkeys(branch.source.sequence for branch in branches)
    return Batch(tuple(own | drawn), tuple(branches))


def all_cells(chain: Chain, sequences: Sequences, request: Request) -> tuple[tuple[Cell, ...], tuple[int | None, ...]]:
    """The cells of a request, and the labels of their positions."""
    positions = tuple(position_labels(sequences, request))
    return tuple(cells_of(chain.base, request, positions)), positions
