"""What a stage writes from given beginnings on, at a temperature of its own for every prompt, and the base's match.

The control of everything that is said about a tuned stage is the base at the temperature where it is as sure: where its
mean entropy along its own texts equals the stage's along its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mcinterp import divergence
from mcinterp.behaviour.perturbation.measures import Text
from mcinterp.behaviour.temperature_curves.reading import (
    GRID,
    Table,
    entropy_curves,
    read_tempered,
    temperature_of_entropy,
)
from mcinterp.behaviour.temperature_curves.writing import (
    Change,
    Logits,
    divided_by,
    noted_table,
    noting,
    write_changed,
)
from mcinterp.chain import Stage
from mcinterp.completions import Job, write_all

Ids = Sequence[int]
Curves = tuple[np.ndarray, np.ndarray]
ROUNDS = 3


@dataclass(frozen=True)
class Writer:
    """A stage with the temperature it writes at after every prompt; 0 is greedy, and is read at temperature 1."""

    stage: Stage
    temperatures: np.ndarray
    context: int

    @property
    def greedy(self) -> bool:
        """Whether it always takes the likeliest token."""
        return bool((self.temperatures == 0).all())

    def write(
        self, beginnings: Sequence[Ids], prompts: Sequence[int], streams: Sequence[tuple[int, ...]], steps: int
    ) -> list[Text]:
        """At most `steps` tokens behind every beginning; `streams` name the random numbers that choose them."""
        jobs = self.jobs(beginnings, streams, steps)
        if self.greedy:
            return self.write_greedily(jobs)
        return self.write_sampled(jobs, self.tempered(prompts))

    def write_and_read(
        self, beginnings: Sequence[Ids], prompts: Sequence[int], streams: Sequence[tuple[int, ...]], steps: int
    ) -> tuple[list[Text], Table]:
        """The texts of `write`, and the `entropies` of their tokens, where they are sampled noted while they are."""
        if self.greedy:
            texts = self.write(beginnings, prompts, streams, steps)
            return texts, self.entropies(beginnings, prompts, texts, steps)
        jobs = self.jobs(beginnings, streams, steps)
        notes: dict[int, list[float]] = {}
        texts = self.write_sampled(jobs, noting(self.tempered(prompts), entropy_behind, notes))
        return texts, noted_table(notes, [text.ids for text in texts], steps)

    def tempered(self, prompts: Sequence[int]) -> Change:
        """Logits divided by the temperature of each job's prompt."""
        return divided_by(self.temperatures[np.asarray(prompts, dtype=int)].tolist())

    def write_sampled(self, jobs: Sequence[Job], change: Change) -> list[Text]:
        """Tokens drawn from the changed distributions of every job."""
        written = dict(write_changed(self.stage, jobs, change))
        return [Text(written[number], len(written[number]) < job.steps) for number, job in enumerate(jobs)]

    def write_greedily(self, jobs: Sequence[Job]) -> list[Text]:
        """The likeliest tokens of every job; equal beginnings are written on once."""
        first = {tuple(job.ids): number for number, job in reversed(list(enumerate(jobs)))}
        written = dict(write_all(self.stage, [jobs[number] for number in first.values()], 0.0))
        texts = {ids: written[place] for place, ids in enumerate(first)}
        return [Text(texts[tuple(job.ids)], len(texts[tuple(job.ids)]) < job.steps) for job in jobs]

    def jobs(self, beginnings: Sequence[Ids], streams: Sequence[tuple[int, ...]], steps: int) -> list[Job]:
        """What is to be written behind every beginning."""
        pairs = zip(beginnings, streams, strict=True)
        return [self.job(number, ids, stream, steps) for number, (ids, stream) in enumerate(pairs)]

    def job(self, number: int, ids: Ids, stream: tuple[int, ...], steps: int) -> Job:
        """One text to write, cut where the context ends."""
        room = max(0, min(steps, self.context - len(ids)))
        return Job(number, ids, np.random.default_rng(stream).random(room), room)

    def entropies(self, beginnings: Sequence[Ids], prompts: Sequence[int], texts: Sequence[Text], steps: int) -> Table:
        """Entropy of what every token was drawn from, in nats; of greedy texts that at temperature 1."""
        chosen = self.temperatures[np.asarray(prompts, dtype=int)]
        ids = [text.ids for text in texts]
        return read_tempered(self.stage, beginnings, ids, steps, np.where(chosen == 0, 1.0, chosen).tolist())[1]


def entropy_behind(logits: Logits, changed: Logits) -> torch.Tensor:
    """Entropy of every row's changed distribution, in nats."""
    return divergence.entropy(divergence.log_probs(changed))


def matched_writer(
    base: Writer,
    target: np.ndarray,
    groups: Sequence[str],
    beginnings: Sequence[Ids],
    prompts: Sequence[int],
    streams: Sequence[tuple[int, ...]],
    steps: int,
    own: Curves | None = None,
) -> Writer:
    """The base at the temperatures, one a group of prompts, where its mean entropy is `target` (nats, one a prompt).

    The mean is over all written tokens of a group's texts; at each of a few rounds the base writes at the temperature
    found so far and its distributions there say which temperature has the wanted entropy. Groups whose target is
    missing stay at 1. `own` are the `own_curves` of the base as it is given, where they are known already.
    """
    names = np.asarray(groups)
    found = base
    for _ in range(ROUNDS):
        known = own if found is base else None
        sums, counts = known or own_curves(found, beginnings, prompts, streams, steps)
        temperatures = found.temperatures.copy()
        for group in dict.fromkeys(groups):
            rows = np.isin(np.asarray(prompts), np.flatnonzero(names == group))
            curve = sums[rows].sum(axis=0) / max(counts[rows].sum(), 1.0)
            best = temperature_of_entropy(curve, float(target[names == group][0]), GRID)
            if counts[rows].sum() > 0 and np.isfinite(best):
                temperatures[names == group] = best
        found = Writer(base.stage, temperatures, base.context)
    return found


def own_curves(
    writer: Writer, beginnings: Sequence[Ids], prompts: Sequence[int], streams: Sequence[tuple[int, ...]], steps: int
) -> Curves:
    """The `entropy_curves` of a writer along its own texts."""
    texts = writer.write(beginnings, prompts, streams, steps)
    return entropy_curves(writer.stage, beginnings, [text.ids for text in texts])


def mean_entropy(entropies: Table, prompts: Sequence[int], groups: Sequence[str]) -> np.ndarray:
    """Mean entropy over all written tokens of the texts of a prompt's group, one a prompt; missing without tokens."""
    names, owner = np.asarray(groups), np.asarray(groups)[np.asarray(prompts)]
    sums, counts = np.nansum(entropies, axis=1), (~np.isnan(entropies)).sum(axis=1)
    found = np.full(len(names), np.nan)
    for group in dict.fromkeys(groups):
        rows = owner == group
        if counts[rows].sum():
            found[names == group] = sums[rows].sum() / counts[rows].sum()
    return found
