"""Completions of prompts by one stage, greedy or sampled, the same whatever the batch.

Prompts of equal length decode together over a key-value cache, so nothing is padded; sampling draws one uniform
number a prompt and step from that prompt's own stream.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from tqdm import tqdm

from mcinterp.chain import Stage
from mcinterp.divergence import log_probs
from mcinterp.errors import InputError

ROWS = 64


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


def complete(
    stage: Stage, prompts: Sequence[Sequence[int]], decoding: Decoding = Decoding(), *, context: int
) -> list[tuple[int, ...]]:
    """What the stage writes after each prompt: token ids without the end token, cut where the context ends."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, ids in enumerate(prompts):
        by_length[len(ids)].append(index)
    written: dict[int, tuple[int, ...]] = {}
    groups = list(groups_of_equal_length(by_length))
    for indices in tqdm(groups, desc=f"{stage.name} completions", unit="batch", delay=2, disable=None):
        rows = torch.tensor([prompts[i] for i in indices])
        steps = min(decoding.max_new_tokens, context - rows.shape[1])
        uniforms = torch.tensor(np.stack([decoding.uniforms(i) for i in indices])).float()
        tokens = decode(stage, rows, steps, uniforms, decoding.temperature)
        written.update({i: before_end(row, stage.end_tokens) for i, row in zip(indices, tokens.tolist(), strict=True)})
    return [written[index] for index in range(len(prompts))]


def groups_of_equal_length(by_length: dict[int, list[int]]) -> Iterator[list[int]]:
    """Indices of prompts of one length, at most `ROWS` together."""
    for indices in by_length.values():
        for start in range(0, len(indices), ROWS):
            yield indices[start : start + ROWS]


@torch.inference_mode()
def decode(
    stage: Stage,
    rows: Int[torch.Tensor, "row column"],
    steps: int,
    uniforms: Float[torch.Tensor, "row step"],
    temperature: float,
) -> Int[torch.Tensor, "row written"]:
    """The next `steps` tokens of equally long rows; stops early once every row has written an end token."""
    end = torch.tensor(sorted(stage.end_tokens), dtype=torch.long)
    ended = torch.zeros(len(rows), dtype=torch.bool)
    written: list[torch.Tensor] = []
    entering, cache = rows.to(stage.device), None
    for step in range(steps):
        logits, cache = stage.bridge(
            entering, return_type="logits_and_cache", past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        chosen = choose(logits[:, -1, : stage.readout.vocabulary], uniforms[:, step], temperature)
        written.append(chosen)
        ended |= torch.isin(chosen, end)
        if bool(ended.all()):
            break
        entering = chosen.unsqueeze(-1).to(stage.device)
    return torch.stack(written, dim=1) if written else rows.new_zeros((len(rows), 0))


def choose(
    logits: Float[torch.Tensor, "row vocabulary"], uniform: Float[torch.Tensor, "row"], temperature: float
) -> Int[torch.Tensor, "row"]:
    """The most likely token at temperature 0, else the token at a uniform number of the cumulative distribution."""
    if temperature == 0:
        return logits.argmax(dim=-1).cpu()
    cumulative = log_probs(logits / temperature).cpu().double().exp().cumsum(dim=-1)
    thresholds = uniform.double().unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def before_end(ids: Sequence[int], end: frozenset[int]) -> tuple[int, ...]:
    """The ids before the first end token."""
    stop = next((place for place, index in enumerate(ids) if index in end), len(ids))
    return tuple(ids[:stop])
