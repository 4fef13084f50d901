"""Attention patterns of every stage on the same tokens."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from einops import rearrange

from mcinterp.batching import Batch, pad
from mcinterp.budget import halving
from mcinterp.capture import capture
from mcinterp.chain import Chain, Stage
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance


@halving
def attention_patterns(chain: Chain, sequences: Sequences, *, prompts: Sequence[int] = (0,)) -> xr.Dataset:
    """The attention probabilities of chosen prompts with their completions.

    Over `stage, prompt, layer, head, query, key`: how much each token (query) attends to each before it (key); rows
    sum to one, cells beyond a prompt's length are missing.
    """
    chosen = list(prompts)
    batch = pad([sequences.ids[i] for i in chosen])
    layers, length = chain.base.n_layers, batch.tokens.shape[1]
    hooks = [f"blocks.{layer}.attn.hook_pattern" for layer in range(layers)]
    pattern = np.stack([pattern_of(chain.stages[s], batch, hooks) for s in range(len(chain.stages))])
    for row, size in enumerate(batch.lengths):
        pattern[:, row, :, :, size:, :] = np.nan
        pattern[:, row, :, :, :, size:] = np.nan
    token = [[*sequences.tokens[i], *([""] * (length - len(sequences.tokens[i])))] for i in chosen]
    dataset = xr.Dataset(
        {"attention": (("stage", "prompt", "layer", "head", "query", "key"), pattern.astype(np.float32))},
        coords={
            "stage": list(chain.names),
            "prompt": chosen,
            "layer": np.arange(layers),
            "n_tokens": ("prompt", list(batch.lengths)),
            "token": (("prompt", "query"), np.asarray(token, dtype=str)),
        },
    )
    return with_provenance(describe(dataset), analysis="attention_patterns", **provenance(chain, sequences))


def pattern_of(stage: Stage, batch: Batch, hooks: Sequence[str]) -> np.ndarray:
    """Patterns of one stage with the axes row, layer, head, query, key."""
    activations = capture(stage, batch, hooks)
    patterns = [activations[hook].float().cpu().numpy() for hook in hooks]
    return rearrange(patterns, "layer row head query key -> row layer head query key")
