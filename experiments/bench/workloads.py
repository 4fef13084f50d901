"""What is swept: model shapes, workloads, their cells and prompts. Plain Python, for every environment."""

import random
from dataclasses import dataclass
from typing import NamedTuple

HEAD_WIDTH = 64
CONTEXT = 1024
SITES = ("resid_pre", "attn_out", "mlp_out")


class Cell(NamedTuple):
    """One patched forward pass: a site of a layer, at a position (or the last, `None`), in one head or the whole."""

    site: str
    layer: int
    position: int | None
    head: int | None


@dataclass(frozen=True)
class Shape:
    """The size of a Llama-shaped model."""

    name: str
    d_model: int
    n_layers: int
    vocabulary: int

    @property
    def n_heads(self) -> int:
        """Heads of 64 dimensions."""
        return self.d_model // HEAD_WIDTH

    @property
    def d_mlp(self) -> int:
        """About 2.75 times the model's width, in multiples of 64."""
        return round(2.75 * self.d_model / 64) * 64


@dataclass(frozen=True)
class Workload:
    """A sweep over all layers of some sites; `shortest` and `longest` bound the prompts' tokens."""

    name: str
    sites: tuple[str, ...]
    prompts: int
    shortest: int
    longest: int
    each_position: bool = False
    each_head: bool = False

    def cells(self, shape: Shape) -> list[Cell]:
        """All cells, layer by layer."""
        positions = range(self.longest) if self.each_position else [None]
        heads = range(shape.n_heads) if self.each_head else [None]
        layers = range(shape.n_layers)
        return [Cell(s, layer, p, h) for layer in layers for s in self.sites for p in positions for h in heads]

    def sequences(self, shape: Shape, seed: int = 0) -> list[list[int]]:
        """Random token ids above 0, the same for the same seed."""
        draw = random.Random(seed)
        lengths = [draw.randint(self.shortest, self.longest) for _ in range(self.prompts)]
        return [[draw.randrange(1, shape.vocabulary) for _ in range(length)] for length in lengths]


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", 64, 3, 1024),
        Shape("d512", 512, 12, 16 * 1024),
        Shape("d768", 768, 16, 32 * 1024),
        Shape("d1024", 1024, 24, 32 * 1024),
    )
}
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("last", SITES, 1, 64, 64),
        Workload("batch", SITES, 16, 32, 64),
        Workload("heads", ("z",), 1, 64, 64, each_head=True),
        Workload("positions", ("resid_pre",), 1, 32, 32, each_position=True),
    )
}


def some(cells: list[Cell], count: int, seed: int = 0) -> list[Cell]:
    """A random subset in the original order; all of them where there are no more than `count`."""
    chosen = sorted(random.Random(seed).sample(range(len(cells)), min(count, len(cells))))
    return [cells[index] for index in chosen]
