"""Completions from changed distributions: the logits of every row are changed before a token is drawn from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from mcinterp.batching import pad
from mcinterp.chain import Stage
from mcinterp.completions import Job, affordable_groups, before_end, decode

Logits = Float[torch.Tensor, "row vocabulary"]
Change = Callable[[Logits, Sequence[int]], Logits]


@dataclass(frozen=True)
class Changed:
    """A bridge whose logits are changed before they are returned; everything else is the bridge's own."""

    bridge: Any
    change: Change
    numbers: Sequence[int]
    vocabulary: int

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any]:
        """The changed logits of the common vocabulary at the last column, and the cache."""
        logits, cache = self.bridge(*args, **kwargs)
        return self.change(logits[:, -1, : self.vocabulary].float(), self.numbers)[:, None], cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bridge, name)


def write_changed(stage: Stage, jobs: Sequence[Job], change: Change) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every job's number and completion at temperature 1; `change` gets the logits of some jobs and their numbers."""
    order = sorted(range(len(jobs)), key=lambda n: (-jobs[n].steps, -len(jobs[n].ids)))
    for numbers in affordable_groups(stage, jobs, order):
        group = [jobs[n] for n in numbers]
        bridge = Changed(stage.bridge, change, numbers, stage.readout.vocabulary)
        uniforms = torch.tensor(np.stack([job.uniforms for job in group])).float()
        batch = pad([job.ids for job in group], side="left")
        tokens = decode(stage.with_bridge(bridge), batch, group[0].steps, uniforms, 1.0)
        for number, row in zip(numbers, tokens.tolist(), strict=True):
            yield number, before_end(row, stage.end_tokens)


def noting(change: Change, read: Callable[[Logits, Logits], torch.Tensor], notes: dict[int, list[float]]) -> Change:
    """A change that notes under every job, step by step, one number read from the logits before and behind it.

    A batch goes on until all its texts have ended: notes behind the end of a text mean nothing.
    """

    def noted(logits: Logits, numbers: Sequence[int]) -> Logits:
        changed = change(logits, numbers)
        for number, value in zip(numbers, read(logits, changed).double().tolist(), strict=True):
            notes.setdefault(number, []).append(value)
        return changed

    return noted


def noted_table(notes: dict[int, list[float]], written: Sequence[Sequence[int]], steps: int) -> np.ndarray:
    """The notes of the tokens of every job as a table over job and step; missing behind the end of a text."""
    found = np.full((len(written), steps), np.nan)
    for number, ids in enumerate(written):
        found[number, : len(ids)] = notes.get(number, [])[: len(ids)]
    return found


def divided_by(temperatures: Sequence[float]) -> Change:
    """Divide the logits of every job by its own temperature."""
    scale = torch.tensor(np.asarray(temperatures, dtype=np.float32))

    def change(logits: Logits, numbers: Sequence[int]) -> Logits:
        return logits / scale[list(numbers), None].to(logits.device)

    return change
