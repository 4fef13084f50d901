"""TransformerLens on the same loaded pair: one pass of all prompts a cell, final logits only; some cells are timed."""

import random
import statistics
import time
from typing import Any

import torch
from transformer_lens.utilities import get_act_name

import mcinterp
from bench.scale.ceilings import synchronise
from bench.scale.work import DIRECTIONS, STANDARD
from mcinterp.chain import Stage


def seconds(chain: mcinterp.Chain, prompts: mcinterp.Prompts, device: str, cells: int) -> dict[str, Any]:
    """The time of a whole standard sweep in both directions, from the median of some cells and one clean pass each."""
    tokens = torch.tensor(chain.render(prompts).token_ids, device=device)
    every = [(site, layer) for site in STANDARD for layer in range(chain.base.n_layers)]
    names = [get_act_name(site, layer) for site, layer in random.Random(0).sample(every, min(cells, len(every)))]
    with torch.inference_mode():
        donors, clean = cached(chain.base, tokens, names, device)
        taken = [patched(chain.tuned, tokens, name, donors[name], device) for name in names[:1] + names][1:]
    return {
        "cells_timed": len(names),
        "cells": len(every) * DIRECTIONS,
        "seconds_a_cell": statistics.median(taken),
        "seconds": DIRECTIONS * (clean + len(every) * statistics.median(taken)),
    }


def cached(stage: Stage, tokens: torch.Tensor, names: list[str], device: str) -> tuple[Any, float]:
    """The last position of the donor's activations, and the time of its pass."""
    synchronise(device)
    start = time.perf_counter()
    cache = stage.bridge.run_with_cache(tokens, names_filter=names, logits_to_keep=1)[1]
    synchronise(device)
    return {name: cache[name][:, -1].clone() for name in names}, time.perf_counter() - start


def patched(stage: Stage, tokens: torch.Tensor, name: str, donor: torch.Tensor, device: str) -> float:
    """The time of one cell: a pass under one hook, and the entropy of its final logits."""

    def put(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        activation[:, -1] = donor
        return activation

    synchronise(device)
    start = time.perf_counter()
    logits = stage.bridge.run_with_hooks(tokens, fwd_hooks=[(name, put)], logits_to_keep=1)[:, -1].float()
    log_probs = logits.log_softmax(-1)
    (-(log_probs.exp() * log_probs).sum(-1)).tolist()
    return time.perf_counter() - start
