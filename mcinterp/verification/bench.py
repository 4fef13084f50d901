"""What every edit is measured on: located and held-out prompts, and controls along the tuned stage's answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np

from mcinterp import divergence
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import PromptsLike, as_sequences, reads_of
from mcinterp.rendering import RenderedPrompts
from mcinterp.sequences import Sequences, teacher_force
from mcinterp.verification.edits import Edit
from mcinterp.weights.grafts import grafted
from mcinterp.weights.scalar import MOST_LOGITS, SCALARS, Judged, LogProbs, Scalar, judge

READ: dict[str, Scalar] = {name: SCALARS[name] for name in ("entropy", "attractor_log_odds", "kl_to_base")}
KEPT: dict[str, Scalar] = {
    "control_kl": lambda r: divergence.kl_divergence(r.donor, r.log_probs),
    "control_agreement": lambda r: (r.log_probs.argmax(dim=-1) == r.donor.argmax(dim=-1)).double(),
}
Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Bench:
    """Prompts (the first `located` of them those of the search) and controls, with both stages' distributions there."""

    chain: Chain
    sequences: Sequences
    located: int
    judged: Judged
    answers: Sequences | None
    kept: Judged | None

    def values(self, edit: Edit) -> Values:
        """Every measure of an edit: by prompt, and by control; a forward pass only where weights are other ones."""
        measured = [(self.judged, READ), *([(self.kept, KEPT)] if self.kept is not None else [])]
        if edit.sites:
            with edited(self.chain, edit) as stage:
                each = [judged.values(stage, metrics) for judged, metrics in measured]
        else:
            ends = [judged.earlier if edit.kind == "base" else judged.later for judged, _ in measured]
            each = [
                values_at(judged, end, edit.temperature, metrics)
                for end, (judged, metrics) in zip(ends, measured, strict=True)
            ]
        return {name: value for found in each for name, value in found.items()}

    def entropy(self, values: Mapping[str, np.ndarray]) -> float:
        """Mean entropy over the located prompts, in nats."""
        return float(values["entropy"][: self.located].mean())


@contextmanager
def edited(chain: Chain, edit: Edit) -> Iterator[Stage]:
    """The stage that an edit reads and samples; its own weights are back afterwards."""
    if not edit.sites:
        yield chain.base if edit.kind == "base" else chain.tuned
        return
    with grafted(chain, edit.sites) as stage:
        yield stage


def values_at(judged: Judged, ends: LogProbs, temperature: float, metrics: Mapping[str, Scalar]) -> Values:
    """Metrics of distributions that are there already, at a temperature: means over the read positions of a prompt."""
    found = {name: np.empty(len(ends)) for name in metrics}
    size = max(1, MOST_LOGITS // ends.shape[1])
    for rows in (range(start, min(start + size, len(ends))) for start in range(0, len(ends), size)):
        chosen = ends[list(rows)]
        reading = judged.reading(chosen if temperature == 1 else divergence.log_probs(chosen / temperature), rows)
        for name, metric in metrics.items():
            found[name][list(rows)] = metric(reading).double().cpu().numpy()
    return {name: judged.by_prompt(values) for name, values in found.items()}


def bench_of(
    chain: Chain,
    sequences: PromptsLike,
    held_out: PromptsLike | None,
    controls: PromptsLike | None,
    reads: Sequence[int],
    attractor: int | None,
    new_tokens: int,
) -> Bench:
    """The bench of some prompts, with one forward pass of either stage over all of them."""
    located = as_sequences(chain, sequences)
    everything = located if held_out is None else joined(located, as_sequences(chain, held_out))
    chosen = readable(everything, reads_of(located, reads))
    answers = None if controls is None else answered(chain, controls, new_tokens)
    return Bench(
        chain=chain,
        sequences=everything,
        located=len(located),
        judged=judge(chain, everything, chosen, attractor),
        answers=answers,
        kept=None if answers is None else judge(chain, answers, range(new_tokens), None),
    )


def readable(sequences: Sequences, reads: tuple[int, ...]) -> tuple[int, ...]:
    """The read positions, of which every sequence must have one at least."""
    short = next((i for i, completion in enumerate(sequences.completions) if len(completion) < reads[0]), None)
    if short is not None:
        raise InputError(
            f"got reads={list(reads)} and prompt {short} has {len(sequences.completions[short])} tokens behind it, so "
            f"nothing of it is read; read from position 0 on, or leave it out."
        )
    return reads


def answered(chain: Chain, controls: PromptsLike, new_tokens: int) -> Sequences:
    """Controls with the tuned stage's own greedy completion."""
    return teacher_force(chain, as_sequences(chain, controls).prompts, Decoding(new_tokens))


def joined(first: Sequences, second: Sequences) -> Sequences:
    """Two lots of sequences as one."""
    parts = {f.name: getattr(first.prompts, f.name) + getattr(second.prompts, f.name) for f in fields(RenderedPrompts)}
    by = dict.fromkeys((first.written_by, second.written_by))
    return Sequences(
        prompts=RenderedPrompts(**parts),
        completions=first.completions + second.completions,
        completion_tokens=first.completion_tokens + second.completion_tokens,
        written_by="; ".join(by),
    )
