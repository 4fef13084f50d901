"""How much of a prompt stages copy, and how much the base's copying heads look at it."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from mcinterp.behaviour.contexts.spans import longest_common_span
from mcinterp.chain import Stage
from mcinterp.copying import copying_scores
from mcinterp.heads import pattern_batches, patterns_of
from mcinterp.rendering import RenderedPrompts

Ids = Sequence[int]


@torch.inference_mode()
def copying_attention(stage: Stage, rendered: RenderedPrompts) -> np.ndarray:
    """Attention from the last prompt token to earlier ones, weighted over heads by how much they copy; a share.

    The mean over heads, weighted by the positive part of `mcinterp.copying.copying_scores`, of the attention to all
    tokens but the first (where heads rest that have nothing to do) and the last itself. Missing where the architecture
    has no copying scores or no head copies.
    """
    weight = np.clip(copying_scores(stage), 0.0, None)
    found = np.full(len(rendered), np.nan)
    if not weight.sum() > 0:
        return found
    for batch in pattern_batches(stage, rendered.token_ids):
        patterns = patterns_of(stage, batch)
        for row, (index, size) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            seen = patterns[:, row, :, size - 1, 1 : max(1, size - 1)].sum(dim=-1).cpu().numpy()
            found[index] = (weight * seen).sum() / weight.sum()
    return found


def copied_spans(samples: xr.Dataset, prompts: Sequence[Ids], others: Sequence[int]) -> xr.Dataset:
    """The longest span that every sample shares with its prompt, and with another prompt, for chance.

    `others` is the other prompt of each prompt. Over `stage, prompt, sample`: `copied_span` and `copied_span_by_chance`
    (tokens), and `copied_share`, `copied_span` over the sample's length (missing for an empty sample).
    """
    cells = ("stage", "prompt", "sample")
    token_ids = samples["token_id"].transpose(*cells, "step").values
    own, chance, share = (np.full(token_ids.shape[:3], np.nan, dtype=np.float32) for _ in range(3))
    for cell in np.ndindex(*token_ids.shape[:3]):
        written = [int(i) for i in token_ids[cell] if i >= 0]
        own[cell] = longest_common_span(written, prompts[cell[1]])
        chance[cell] = longest_common_span(written, prompts[others[cell[1]]])
        share[cell] = own[cell] / len(written) if len(written) else np.nan
    named = {"copied_span": own, "copied_span_by_chance": chance, "copied_share": share}
    return xr.Dataset({name: (cells, values) for name, values in named.items()})


def other_prompts(templates: Sequence[str], seed: int) -> list[int]:
    """For every prompt one of another template, drawn at random (its own where there is one template only)."""
    random, labels = np.random.default_rng(seed), np.asarray(templates)
    chosen = []
    for index, template in enumerate(templates):
        elsewhere = np.flatnonzero(labels != template)
        chosen.append(int(random.choice(elsewhere)) if len(elsewhere) else index)
    return chosen
