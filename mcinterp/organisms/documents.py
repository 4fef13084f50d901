"""Documents with exact soft labels, packed in batches of similar length."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from mcinterp.organisms.grammar import Grammar
from mcinterp.organisms.tokenizer import END_ID, PAD_ID

POOL = 16


@dataclass(frozen=True)
class Batch:
    """Token ids [document, position] and the true next-token probabilities, stored sparsely.

    ``rows`` counts positions of the flattened ids, ``tokens`` are next tokens and ``probabilities``
    their true probability; ``entropy`` is the mean true entropy in nats per labelled position.
    """

    ids: torch.Tensor
    rows: torch.Tensor
    tokens: torch.Tensor
    probabilities: torch.Tensor
    n_positions: int
    entropy: float


def pad(documents: Sequence[Sequence[int]]) -> torch.Tensor:
    """Token ids of all documents, padded on the right to the longest."""
    width = max(len(ids) for ids in documents)
    return torch.tensor([[*ids, *[PAD_ID] * (width - len(ids))] for ids in documents])


def pack(grammar: Grammar, documents: Sequence[Sequence[int]]) -> Batch:
    """Label ``documents`` (ids without the beginning-of-text token) with the exact conditionals."""
    ids = pad([[END_ID, *document] for document in documents])
    rows: list[int] = []
    tokens: list[int] = []
    probabilities: list[float] = []
    for number, document in enumerate(documents):
        for position, target in enumerate(grammar.targets(document)):
            rows += [number * ids.shape[1] + position] * len(target)
            tokens += target.keys()
            probabilities += target.values()
    p = torch.tensor(probabilities)
    n_positions = sum(len(document) for document in documents)
    entropy = float(-(p * p.log()).sum()) / n_positions
    return Batch(ids, torch.tensor(rows), torch.tensor(tokens), p, n_positions, entropy)


def cross_entropy(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean of -sum p log q over labelled positions, nats; minus ``batch.entropy`` it is KL(p||q)."""
    logs = torch.log_softmax(logits.float(), -1).flatten(0, 1)
    return -(batch.probabilities * logs[batch.rows, batch.tokens]).sum() / batch.n_positions


def stream(grammar: Grammar, batch_size: int, rng: random.Random) -> Iterator[Batch]:
    """Endless batches of fresh documents, bucketed by length within pools of ``POOL`` batches."""
    while True:
        pool = sorted((grammar.sample(rng) for _ in range(batch_size * POOL)), key=len)
        starts = list(range(0, len(pool), batch_size))
        rng.shuffle(starts)
        for start in starts:
            yield pack(grammar, pool[start : start + batch_size])
