"""Activations of a stage at one place, token by token: what an autoencoder reads."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float

from mcinterp.batching import batches
from mcinterp.capture import affordable_tokens, capture
from mcinterp.chain import Stage

Rows = Float[torch.Tensor, "token d_in"]


@torch.inference_mode()
def rows_of(stage: Stage, ids: Sequence[Sequence[int]], hook: str, width: int) -> Iterator[tuple[int, Rows]]:
    """Every sequence's number and its activations at a hook (heads side by side), float32 on the CPU.

    The longest sequences come first. `width` is what a token takes there. Raises `LookupError` for a hook that did not
    fire.
    """
    sites = 1 + -(-width // int(stage.bridge.cfg.d_model))
    for batch in batches(ids, max_tokens=affordable_tokens(stage, sites)):
        kept = capture(stage, batch, [hook])[hook].flatten(2)
        for row, (index, length) in enumerate(zip(batch.indices, batch.lengths, strict=True)):
            yield index, kept[row, :length].float().cpu()


def all_rows(stage: Stage, ids: Sequence[Sequence[int]], hook: str, width: int) -> list[Rows]:
    """The same in the order of the sequences."""
    found = dict(rows_of(stage, ids, hook, width))
    return [found[index] for index in range(len(ids))]
