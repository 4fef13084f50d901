"""The planted tasks that figures are taken of, and what a table of figures is."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

import mcinterp
from mcinterp.intervene.inputs import as_sequences
from mcinterp.organisms.plants.record import Task, read_plants
from mcinterp.sequences import Sequences

HALF = "report"
Figures = dict[str, float]


class Planted(NamedTuple):
    """One task: its pair, its prompts, what is true of it."""

    chain: mcinterp.Chain
    sequences: Sequences
    task: Task
    kind: str

    @property
    def sites(self) -> list[str]:
        """The true components (the attention of a true head)."""
        return [".".join(name.split(".")[:2]) for name in self.task.truth]


def tasks(root: Path) -> Iterator[Planted]:
    """Every task of the half, its pair loaded once a plant."""
    for plant in read_plants(root, HALF):
        chain = mcinterp.load_pair(*plant.specs(root))
        for task in plant.tasks:
            prompts = mcinterp.Prompts.from_file(plant.prompt_file(root, task))
            yield Planted(chain, as_sequences(chain, prompts), task, plant.kind)


def mean(values: xr.DataArray | np.ndarray | torch.Tensor) -> float:
    """The mean of what is there."""
    return float(np.nanmean(np.asarray(values, dtype=float)))
