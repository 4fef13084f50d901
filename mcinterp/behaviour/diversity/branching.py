"""The branching factor of every stage after every prompt, from samples of its own.

As published (Yang and Holtzman 2025), both what is sampled and what is measured is the nucleus of top-p 0.9,
renormalised; the full vocabulary is another measure with a name of its own.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from mcinterp import divergence
from mcinterp.behaviour.temperature_curves.reading import each_chunk
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, complete_many
from mcinterp.diversity.branching import ASYMPTOTIC, TOP_P, branching_factor, nucleus
from mcinterp.errors import InputError
from mcinterp.rendering import RenderedPrompts

Factors = Float[np.ndarray, "stage prompt"]
Tables = Float[np.ndarray, "measure prompt sample step"]


class NucleusBridge:
    """A model whose next-token distribution is the nucleus of another's; all else is that other's."""

    bridge: Any
    vocabulary: int
    top_p: float

    def __init__(self, bridge: Any, vocabulary: int, top_p: float) -> None:
        self.bridge, self.vocabulary, self.top_p = bridge, vocabulary, top_p

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bridge, name)

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, Any]:
        """Log-probabilities of the nucleus of the last token, and the key-value cache."""
        logits, cache = self.bridge(*args, **kwargs)
        return nucleus(divergence.log_probs(logits[..., : self.vocabulary]), self.top_p), cache


def branching(
    chain: Chain,
    prompts: RenderedPrompts,
    *,
    samples: int = 50,
    max_new_tokens: int = ASYMPTOTIC,
    top_p: float = TOP_P,
    full_vocab: bool = False,
    seed: int = 0,
    asymptotic: int = ASYMPTOTIC,
) -> Factors:
    """exp(mean entropy a token) of `samples` samples of every stage after every prompt, equally likely tokens.

    Of the nucleus of `top_p`, or with `full_vocab` of the whole distribution at temperature 1, which is to be named
    apart. End tokens are not counted; missing where no sample has a token. Beyond `asymptotic` tokens it is read from
    the samples' probability. Raises `InputError` for a `top_p` outside (0, 1] or fewer than one sample.
    """
    if not 0 < top_p <= 1 or samples < 1:
        raise InputError(f"got top_p={top_p} and samples={samples}; give a top_p in (0, 1] and 1 or more samples.")
    decoding = Decoding(max_new_tokens, temperature=1.0, seed=seed)
    mass = None if full_vocab else top_p
    tables = [along_samples(chain, stage, prompts, decoding, samples, mass) for stage in chain.stages]
    return np.asarray(
        [
            [branching_factor(*each, asymptotic=asymptotic) for each in zip(*of_stage, strict=True)]
            for of_stage in tables
        ]
    )


def along_samples(
    chain: Chain, stage: Stage, prompts: RenderedPrompts, decoding: Decoding, samples: int, top_p: float | None
) -> Tables:
    """Entropy of what each sampled token was drawn from, and its log-probability there; missing behind the end.

    Both are those of the nucleus, or without `top_p` of the whole distribution.
    """
    ids, steps = prompts.token_ids, decoding.max_new_tokens
    writer = stage if top_p is None else truncated(stage, top_p)
    written = complete_many(writer, ids, decoding, context=chain.alignment.context, samples=samples)
    found = np.full((2, len(ids) * samples, steps), np.nan)

    def keep(rows: np.ndarray, columns: np.ndarray, read: torch.Tensor, tokens: torch.Tensor) -> None:
        kept = read if top_p is None else nucleus(read, top_p)
        log_mass = read.max(dim=-1).values - kept.max(dim=-1).values
        found[0, rows, columns] = divergence.entropy(kept).cpu().numpy()
        found[1, rows, columns] = (divergence.token_log_prob(read, tokens) - log_mass).cpu().numpy()

    before = [prompt for prompt in ids for _ in range(samples)]
    each_chunk(stage, before, [text for each in written for text in each], keep)
    return found.reshape(2, len(ids), samples, steps)


def truncated(stage: Stage, top_p: float) -> Stage:
    """The stage as it writes from its nucleus."""
    return stage.with_bridge(NucleusBridge(stage.bridge, stage.readout.vocabulary, top_p))
