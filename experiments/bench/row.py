"""Contenders, and what is measured of them for one size, workload and number of threads."""

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import torch

from bench import floor
from bench.pairs import best_rate
from bench.workloads import Cell, Shape, Workload


@dataclass(frozen=True)
class Contender:
    """A worker module and what it is asked to do; `library` names an environment of its own."""

    module: str
    variant: str
    library: str | None = None
    whole: bool = False
    directions: int = 1


CONTENDERS = {
    "mcinterp": Contender("mcinterp_sweep", "one", whole=True),
    "mcinterp_both": Contender("mcinterp_sweep", "both", whole=True, directions=2),
    "tl_generic": Contender("transformerlens_loop", "generic"),
    "tl_loop": Contender("transformerlens_loop", "loop"),
    "nnsight": Contender("nnsight_loop", "sequential", library="nnsight"),
    "nnsight_batched": Contender("nnsight_loop", "batched", library="nnsight"),
    "pyvene": Contender("pyvene_loop", "one", library="pyvene"),
}
REFERENCES = ("tl_loop", "tl_generic")


@dataclass
class Row:
    """All figures of one size, workload and number of threads."""

    shape: Shape
    workload: Workload
    threads: int
    cells: list[Cell]
    subset: list[Cell]
    raw: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    scores: dict[str, dict[Cell, Any]] = field(default_factory=dict)
    products: list[dict[int, list[float]]] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)

    def asked(self, name: str) -> list[Cell]:
        """The cells that a contender is asked for."""
        return self.cells if CONTENDERS[name].whole else self.subset

    def seconds(self, name: str) -> list[float]:
        """Seconds of a whole sweep in one direction, in every round."""
        scale = len(self.cells) / len(self.asked(name))
        return [(r["donor"] + scale * r["cells"]) / CONTENDERS[name].directions for r in self.raw[name]]

    def median(self, name: str) -> float:
        """Median seconds of a sweep; not a number for a contender that was not timed."""
        return statistics.median(self.seconds(name)) if self.raw.get(name) else math.nan

    @property
    def reference(self) -> str:
        """The faster of the two TransformerLens loops that were timed."""
        timed = [name for name in REFERENCES if self.raw.get(name)]
        return min(timed, key=self.median, default=REFERENCES[0])

    def over_floor(self, name: str) -> float:
        """Time over that of the necessary arithmetic at this machine's rate of matrix products."""
        necessary = floor.sweep(self.shape, self.workload, ends=2 // CONTENDERS[name].directions)
        return self.median(name) * best_rate(self.shape, self.products) / necessary

    def products_over_floor(self) -> float:
        """Time of the sweep's matrix products alone, in one direction, over that of the necessary arithmetic."""
        necessary = floor.sweep(self.shape, self.workload)
        return statistics.median(self.alone) * best_rate(self.shape, self.products) / necessary

    def difference(self, name: str) -> float:
        """Largest difference of the token's log-prob and of the entropy from the reference's, over the subset."""
        mine, theirs = self.scores.get(name), self.scores.get(self.reference)
        if not mine or not theirs:
            return math.nan
        apart = [torch.tensor(mine[cell]) - torch.tensor(theirs[cell]) for cell in self.subset]
        return float(torch.stack(apart).abs().max())
