"""Completions of prompts by one stage, greedy or sampled, the same whatever the batch.

Prompts decode together over a key-value cache, padded on the left and masked by length; sampling draws one uniform
number a prompt, sample and step from a stream of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int

from mcinterp.batching import Batch, pad
from mcinterp.budget import bytes_on, halving
from mcinterp.capture import run_on
from mcinterp.chain import Stage
from mcinterp.divergence import log_probs
from mcinterp.errors import InputError
from mcinterp.progress import Progress

CACHE_BYTES = 512 * 2**20
Ids = Sequence[int]


@dataclass(frozen=True)
class Decoding:
    """How a completion is written: temperature 0 is greedy; `seed` and `sample` choose the random stream."""

    max_new_tokens: int = 24
    temperature: float = 0.0
    seed: int = 0
    sample: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 0 or self.temperature < 0:
            raise InputError(
                f"got max_new_tokens={self.max_new_tokens} and temperature={self.temperature}; both must be 0 or more."
            )

    def uniforms(self, prompt: int) -> np.ndarray:
        """The numbers in [0, 1) that choose the tokens of one prompt, one a step."""
        return np.random.default_rng((self.seed, self.sample, prompt)).random(self.max_new_tokens)


@dataclass(frozen=True)
class Job:
    """One completion to write: which prompt, and the random numbers that choose its tokens."""

    prompt: int
    ids: Ids
    uniforms: np.ndarray
    steps: int


def complete(
    stage: Stage, prompts: Sequence[Ids], decoding: Decoding = Decoding(), *, context: int
) -> list[tuple[int, ...]]:
    """What the stage writes after each prompt: token ids without the end token, cut where the context ends."""
    return [only for (only,) in complete_many(stage, prompts, decoding, context=context, samples=1)]


@halving
def complete_many(
    stage: Stage, prompts: Sequence[Ids], decoding: Decoding, *, context: int, samples: int
) -> list[list[tuple[int, ...]]]:
    """Several completions of each prompt: `samples` streams from `decoding.sample` on."""
    streams = [replace(decoding, sample=decoding.sample + n) for n in range(samples)]
    jobs = [
        Job(i, ids, stream.uniforms(i), min(decoding.max_new_tokens, context - len(ids)))
        for i, ids in enumerate(prompts)
        for stream in streams
    ]
    written: list[list[tuple[int, ...]]] = [[] for _ in prompts]
    finished = dict(write_all(stage, jobs, decoding.temperature))
    for number, job in enumerate(jobs):
        written[job.prompt].append(finished[number])
    return written


def write_all(stage: Stage, jobs: Sequence[Job], temperature: float) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every job's number and completion, in batches of jobs that want equally many steps.

    So no row of a batch goes on beyond the context: jobs with fewer steps are those that end there.
    """
    order = sorted(range(len(jobs)), key=lambda n: (-jobs[n].steps, -len(jobs[n].ids)))
    groups = list(affordable_groups(stage, jobs, order))
    for numbers in Progress(groups, desc=f"{stage.name} completions", unit="batch"):
        group = [jobs[n] for n in numbers]
        uniforms = torch.tensor(np.stack([job.uniforms for job in group])).float()
        batch = pad([job.ids for job in group], side="left")
        tokens = decode(stage, batch, group[0].steps, uniforms, temperature)
        for number, row in zip(numbers, tokens.tolist(), strict=True):
            yield number, before_end(row, stage.end_tokens)


def affordable_groups(stage: Stage, jobs: Sequence[Job], order: Sequence[int]) -> Iterator[list[int]]:
    """Consecutive jobs of equally many steps whose keys and values fit in memory together (one at least)."""
    config = stage.bridge.cfg
    heads = config.n_key_value_heads or config.n_heads
    bytes_a_token = 2 * stage.n_layers * heads * config.d_head * torch.finfo(stage.dtype).bits // 8
    for steps, same in groupby(order, key=lambda n: jobs[n].steps):
        numbers = list(same)
        longest = max(len(jobs[n].ids) for n in numbers) + steps
        size = max(1, bytes_on(stage, CACHE_BYTES) // (longest * bytes_a_token))
        yield from (numbers[start : start + size] for start in range(0, len(numbers), size))


@torch.inference_mode()
def decode(
    stage: Stage, batch: Batch, steps: int, uniforms: Float[torch.Tensor, "row step"], temperature: float
) -> Int[torch.Tensor, "row written"]:
    """The next `steps` tokens of a left-padded batch; stops early once every row has written an end token."""
    end = torch.tensor(sorted(stage.end_tokens), dtype=torch.long)
    ended = torch.zeros(len(batch.indices), dtype=torch.bool)
    written: list[torch.Tensor] = []
    entering, attention, cache = batch.tokens, batch.attention, None
    for step in range(steps):
        logits, cache = run_on(stage, entering, attention, cache)
        chosen = choose(logits[:, -1, : stage.readout.vocabulary], uniforms[:, step], temperature)
        written.append(chosen)
        ended |= torch.isin(chosen, end)
        if bool(ended.all()):
            break
        entering = chosen.unsqueeze(-1)
        attention = torch.cat([attention, torch.ones_like(entering)], dim=-1)
    return torch.stack(written, dim=1) if written else batch.tokens[:, :0]


def choose(
    logits: Float[torch.Tensor, "row vocabulary"], uniform: Float[torch.Tensor, "row"], temperature: float
) -> Int[torch.Tensor, "row"]:
    """The most likely token at temperature 0, else the token at a uniform number of the cumulative distribution."""
    if temperature == 0:
        return logits.argmax(dim=-1).cpu()
    cumulative = log_probs(logits / temperature).cpu().double().exp().cumsum(dim=-1)
    thresholds = uniform.double().unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def before_end(ids: Ids, end: frozenset[int]) -> tuple[int, ...]:
    """The ids before the first end token."""
    stop = next((place for place, index in enumerate(ids) if index in end), len(ids))
    return tuple(ids[:stop])
