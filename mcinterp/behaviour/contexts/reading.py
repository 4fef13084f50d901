"""What every stage says right after a prompt, beside the base, and how surprising prompts are to the base."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.chain import Chain, Stage
from mcinterp.divergence import LogProbs, Value
from mcinterp.rendering import RenderedPrompts
from mcinterp.samples import read_written
from mcinterp.sequences import with_completions
from mcinterp.weights.scalar import log_probs_of, unread

READ = ("entropy", "entropy_without_end", "end_probability", "kl_stage_to_base")


def end_ids(chain: Chain) -> list[int]:
    """Tokens that end a text in any stage: base and tuned often have different ones."""
    return sorted(
        i for i in set().union(*(stage.end_tokens for stage in chain.stages)) if i < chain.alignment.vocabulary
    )


def without(log_probs: LogProbs, tokens: Sequence[int]) -> LogProbs:
    """The distribution given that the next token is none of some tokens."""
    masked = log_probs.clone()
    masked[..., list(tokens)] = -torch.inf
    return masked.log_softmax(dim=-1)


def mass(log_probs: LogProbs, tokens: Sequence[int]) -> Value:
    """The probability of some tokens together."""
    return log_probs[..., list(tokens)].exp().sum(dim=-1)


def last_rows(chain: Chain, rendered: RenderedPrompts) -> Iterator[tuple[list[int], list[LogProbs]]]:
    """Prompts of a batch, and the distributions of all stages behind their last token, on the CPU in float32."""
    rows = unread(with_completions(chain, rendered, [()] * len(rendered), "none"), (0,))
    for batch in rows.batches(chain.alignment.vocabulary):
        with torch.inference_mode():
            read = [log_probs_of(stage, batch).float().cpu() for stage in chain.stages]
        yield [rows.rows[row][0] for row in batch.rows], read


def last_position(chain: Chain, rendered: RenderedPrompts) -> xr.Dataset:
    """Every stage's next-token distribution right after the prompt.

    Over `stage, prompt`: `entropy` and `kl_stage_to_base` (nats); `end_probability` of all end tokens together, and
    `entropy_without_end` (nats), the entropy given that the text goes on.
    """
    end = end_ids(chain)
    found = {name: np.full((len(chain.stages), len(rendered)), np.nan, dtype=np.float32) for name in READ}
    for prompts, read in last_rows(chain, rendered):
        for number, q in enumerate(read):
            values = (
                divergence.entropy(q),
                divergence.entropy(without(q, end)),
                mass(q, end),
                divergence.kl_divergence(q, read[0]),
            )
            for name, value in zip(READ, values, strict=True):
                found[name][number, prompts] = value.numpy()
    return xr.Dataset(
        {name: (("stage", "prompt"), values) for name, values in found.items()},
        coords={"stage": list(chain.names), **labels(rendered)},
    )


def labels(rendered: RenderedPrompts) -> dict[str, object]:
    """Coordinates of the prompts."""
    return {
        "prompt": np.arange(len(rendered)),
        "text": ("prompt", list(rendered.texts)),
        "template": ("prompt", list(rendered.templates)),
    }


def surprise(stage: Stage, rendered: RenderedPrompts) -> np.ndarray:
    """Mean -log P of a prompt's tokens from the second on, nats a token; missing for a prompt of one token."""
    heads, tails = [ids[:1] for ids in rendered.token_ids], [ids[1:] for ids in rendered.token_ids]
    steps = max(1, max(len(tail) for tail in tails))
    return -mean_over_steps(read_written(stage, heads, tails, steps)[0])


def mean_over_steps(values: np.ndarray) -> np.ndarray:
    """Mean along the last axis over what is there; missing where nothing is."""
    present = ~np.isnan(values)
    count = present.sum(axis=-1)
    total = np.where(present, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
