"""Exact probabilities of given continuations under a stage, by teacher forcing."""

from collections.abc import Sequence

import torch
from jaxtyping import Float

from mcinterp.batching import Batch, batches
from mcinterp.capture import Point, affordable_tokens, capture
from mcinterp.chain import Stage
from mcinterp.divergence import token_log_prob
from mcinterp.progress import Progress

Ids = Sequence[int]
LOGIT_BYTES = 64 * 2**20


def continuation_log_probs(
    stage: Stage, prompts: Sequence[Ids], continuations: Sequence[Ids]
) -> Float[torch.Tensor, "pair"]:
    """log P(continuation | prompt) in nats, one for each prompt and the continuation beside it (float32).

    The sum of the log-probabilities of the continuation's tokens, each after the prompt and what precedes it.
    """
    sequences = [(*prompt, *continuation) for prompt, continuation in zip(prompts, continuations, strict=True)]
    scores = torch.zeros(len(sequences))
    listed = list(batches(sequences, max_tokens=affordable_tokens(stage, 1)))
    for batch in Progress(listed, desc=f"{stage.name} scores", unit="batch"):
        lengths = [len(continuations[index]) for index in batch.indices]
        scores[list(batch.indices)] = score_batch(stage, batch, lengths)
    return scores


@torch.inference_mode()
def score_batch(stage: Stage, batch: Batch, lengths: Sequence[int]) -> Float[torch.Tensor, "row"]:
    """The summed log-probability of the last `lengths` tokens of each row of a right-padded batch."""
    hook = Point(stage.n_layers - 1, "resid_post").hook
    residual = capture(stage, batch, [hook])[hook]
    row, column = continuation_cells(batch, lengths)
    tokens = batch.tokens[row, column]
    size = max(1, LOGIT_BYTES // (4 * stage.readout.vocabulary))
    parts = [
        token_log_prob(
            stage.readout.log_probs(residual[r.to(residual.device), (c - 1).to(residual.device)]),
            t.to(stage.readout.weight.device),
        ).cpu()
        for r, c, t in zip(row.split(size), column.split(size), tokens.split(size), strict=True)
    ]
    return torch.zeros(len(lengths)).index_add(0, row, torch.cat(parts))


def continuation_cells(batch: Batch, lengths: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of every continuation token."""
    cells = [
        (row, column)
        for row, (whole, length) in enumerate(zip(batch.lengths, lengths, strict=True))
        for column in range(whole - length, whole)
    ]
    table = torch.tensor(cells, dtype=torch.long).reshape(-1, 2)
    return table[:, 0], table[:, 1]
