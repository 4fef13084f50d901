"""What an engine does: compute shards of an analysis, write each where all can reach it, and say what was written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import xarray as xr

from mcinterp.run.manifest import Made
from mcinterp.run.parts import Parts

Measure = Callable[[Any, Any], xr.Dataset]


class Shard(NamedTuple):
    """One piece of work: the name of its part, and the sequences that it is of."""

    name: str
    sequences: Any


class Written(NamedTuple):
    """A part that lies in its place, and what it holds."""

    name: str
    made: Made


@runtime_checkable
class Engine(Protocol):
    """Computes `measure(setting, sequences)` for shards; in which order they come back is left open."""

    def run(self, measure: Measure, shards: Sequence[Shard], parts: Parts) -> Iterator[Written]:
        """Every shard, as soon as its part is written."""
        ...


@dataclass(frozen=True)
class Place:
    """Where shards are computed, and where their parts wait.

    `engine` is `local` or `ray`. `parts` is a URL that all workers reach; by default a folder of the run's directory,
    which then every node must share. `address` is that of a Ray cluster (default: RAY_ADDRESS, else one on this
    machine); `workers` is how many at most (default: as many as the cluster has room for); a shard is tried on
    `attempts` workers before the run gives up.
    """

    engine: str = "local"
    parts: str | None = None
    address: str | None = None
    workers: int | None = None
    attempts: int = 3
