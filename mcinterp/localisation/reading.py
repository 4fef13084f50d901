"""What two stages say next along given sequences: entropies, divergence, and the token that the later one prefers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from mcinterp import divergence
from mcinterp.chain import Chain
from mcinterp.sequences import Sequences
from mcinterp.weights.labels import prompt_labels
from mcinterp.weights.scalar import log_probs_of, unread

READ = ("entropy_base", "entropy_tuned", "kl_tuned_to_base", "top_probability")


@torch.inference_mode()
def read_ends(chain: Chain, sequences: Sequences, reads: Sequence[int]) -> xr.Dataset:
    """Base and tuned beside each other at read positions of every prompt; a batch's distributions at a time are held.

    Over `prompt, position`: `entropy_base`, `entropy_tuned`, `kl_tuned_to_base` (nats), `top_probability` and
    `top_token` of the tuned stage; missing (token -1) where a sequence is shorter.
    """
    rows = unread(sequences, reads)
    found = {name: np.full((len(sequences), len(reads)), np.nan) for name in READ}
    top = np.full((len(sequences), len(reads)), -1)
    for batch in rows.batches(chain.base.readout.vocabulary):
        base, tuned = (log_probs_of(stage, batch).float().cpu() for stage in (chain.base, chain.tuned))
        likely = tuned.max(dim=-1)
        values = (
            divergence.entropy(base),
            divergence.entropy(tuned),
            divergence.kl_divergence(tuned, base),
            likely.values.exp(),
        )
        for row, cell in enumerate(rows.rows[number] for number in batch.rows):
            top[cell] = int(likely.indices[row])
            for name, value in zip(READ, values, strict=True):
                found[name][cell] = float(value[row])
    cells = ("prompt", "position")
    data: dict[str, Any] = {name: (cells, values.astype(np.float32)) for name, values in found.items()}
    data["top_token"] = (cells, top.astype(np.int32))
    return xr.Dataset(data, coords={**prompt_labels(sequences), "position": list(reads)})
