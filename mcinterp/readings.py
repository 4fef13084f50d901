"""What a lens reads at the points of the residual stream, held so that it can be read again and again.

A measure over all rows at once (one exponent for a whole battery) goes through them many times. The residual streams
are held for it; log-probabilities are made anew, a few rows at a time, unless all of them fit in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int

from mcinterp.capture import Point
from mcinterp.chain import Chain
from mcinterp.lens import ChunkOfRows, Lens, LogProbs, chunk_rows, residual_rows
from mcinterp.sequences import PositionSet, Sequences

Groups = Int[torch.Tensor, "row"]


@dataclass(frozen=True)
class Held:
    """The residual streams of all stages at some points and positions, in chunks of rows."""

    chain: Chain
    points: Sequence[Point]
    chunks: Sequence[ChunkOfRows]

    @property
    def n_rows(self) -> int:
        """Rows (tokens) of each stage."""
        return sum(len(chunk.prompt) for chunk in self.chunks)

    @property
    def log_prob_bytes(self) -> int:
        """Bytes that the log-probabilities of all stages at one point take."""
        return 4 * self.n_rows * len(self.chain.stages) * self.chain.alignment.vocabulary

    def read(self, lens: Lens, depth: int, max_bytes: int) -> "Iterable[list[LogProbs]]":
        """What a lens reads at one of the points; kept where it fits in `max_bytes`."""
        readings = Readings(self, lens, depth)
        return list(readings) if self.log_prob_bytes <= max_bytes else readings


def hold(chain: Chain, sequences: Sequences, points: Sequence[Point], positions: PositionSet, max_bytes: int) -> Held:
    """The residual streams at the wanted positions, in chunks of which the log-probabilities fit in `max_bytes`."""
    rows = residual_rows(chain, sequences, points, positions, "residual streams")
    return Held(chain, points, [chunk for each in rows for chunk in each.chunks(chunk_rows(chain, max_bytes))])


@dataclass(frozen=True)
class Readings:
    """The log-probabilities of every stage at one point, chunk by chunk, on the base's device, made anew each time."""

    held: Held
    lens: Lens
    depth: int

    def __iter__(self) -> Iterator[list[LogProbs]]:
        where = self.held.chain.base.readout.weight.device
        point = self.held.points[self.depth]
        for chunk in self.held.chunks:
            rows = [stage[self.depth] for stage in chunk.residual]
            yield [self.lens.read(s, point, each).to(where) for s, each in enumerate(rows)]


@dataclass(frozen=True)
class BesideBase:
    """One stage's readings beside the base's, with the group of each row; iterable as often as the readings are.

    Chunks differ in rows.
    """

    readings: Iterable[list[torch.Tensor]]
    stage: int
    groups: Sequence[torch.Tensor]

    def __iter__(self) -> Iterator[tuple[LogProbs, LogProbs, Groups]]:
        for reading, group in zip(self.readings, self.groups, strict=True):
            yield reading[self.stage], reading[0], group.to(reading[0].device)
