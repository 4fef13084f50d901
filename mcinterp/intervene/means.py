"""Mean activations over prompts, position by position from the end of the prompt: the donor of a mean patch."""

from collections.abc import Sequence

import torch

from mcinterp.batching import batches
from mcinterp.capture import affordable_tokens, capture
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.layout import Tokens
from mcinterp.intervene.sites import SITES, Place, hook_name

MeanTable = dict[tuple[int, str, int], torch.Tensor]


class Means:
    """Mean activation of a stage at a site, layer and position over the prompts that have the position."""

    by_place: MeanTable
    offsets: list[int]

    def __init__(self, by_place: MeanTable, offsets: Sequence[int]) -> None:
        self.by_place, self.offsets = by_place, list(offsets)

    def at(self, stage: int, place: Place, from_end: Sequence[int]) -> torch.Tensor:
        """Means at some positions, counted back from the last token of the longest sequence."""
        return self.by_place[(stage, *place)][torch.tensor(list(from_end))]

    def rows(self, stage: int, place: Place, ids: Sequence[int], tokens: Tokens) -> torch.Tensor:
        """Means for some clean tokens of a batch."""
        return self.at(stage, place, [self.offsets[i // tokens.width] - i % tokens.width for i in ids])


def mean_activations(
    chain: Chain, stages: Sequence[int], places: Sequence[Place], ids: Sequence[Sequence[int]], back: Sequence[int]
) -> MeanTable:
    """Means over sequences by position: row `r` holds the tokens that stand `r` before the furthest position of all.

    `back` says for each sequence in which row its first token belongs. Raises `InputError` for attention patterns,
    whose keys differ with the prompt's length.
    """
    if any(SITES[site].axis == "pattern" for site, _ in places):
        raise InputError("a mean attention pattern over prompts is not defined; choose another site or donor.")
    hooks = {place: hook_name(*place) for place in places}
    means: MeanTable = {}
    for number in stages:
        stage = chain.stages[number]
        counts = torch.zeros(max(back) + 1)
        for batch in batches(ids, max_tokens=affordable_tokens(stage, max(1, len(hooks)))):
            activations = capture(stage, batch, list(hooks.values()))
            for row, index in enumerate(batch.indices):
                rows = back[index] - torch.arange(batch.lengths[row])
                counts[rows] += 1
                for place, hook in hooks.items():
                    value = activations[hook][row, : batch.lengths[row]].float().cpu()
                    total = means.setdefault((number, *place), torch.zeros(len(counts), *value.shape[1:]))
                    total[rows] += value
        for place in places:
            total = means[(number, *place)]
            means[(number, *place)] = total / counts.clamp(min=1).view(-1, *[1] * (total.ndim - 1))
    return means
