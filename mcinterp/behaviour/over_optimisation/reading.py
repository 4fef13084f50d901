"""KL(stage || base) of whole texts, and what a stage writes behind a document that is finished."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mcinterp import divergence
from mcinterp.batching import batches
from mcinterp.behaviour.perturbation.measures import COMPLETE
from mcinterp.behaviour.temperature_curves.reading import chunks
from mcinterp.capture import affordable_tokens
from mcinterp.chain import Chain, Stage
from mcinterp.completions import Decoding, complete_many
from mcinterp.progress import Progress

Ids = Sequence[int]


def sequence_kl(
    stage: Stage, base: Stage, before: Sequence[Ids], written: Sequence[Ids], ended: Sequence[bool]
) -> Float[np.ndarray, "text"]:
    """KL(stage || base) of the next token, exact over the vocabulary, summed over a text and its end; in nats.

    The mean over the stage's own samples estimates KL of the distributions over texts, with less spread than the mean
    of log-ratios (each term's expectation over its own token is taken). Of a text that was cut it is the KL so far.
    """
    total = np.zeros(len(written))
    if stage is base:
        return total
    end = min(stage.end_tokens, default=0)
    targets = [(*ids, end) if done else tuple(ids) for ids, done in zip(written, ended, strict=True)]
    there = [row for row, ids in enumerate(targets) if ids]
    sequences = [(*before[row], *targets[row]) for row in there]
    size = min(affordable_tokens(stage, 1), affordable_tokens(base, 1))
    listed = list(batches(sequences, max_tokens=size)) if there else []
    for batch in Progress(listed, desc=f"{stage.name} against {base.name}", unit="batch"):
        lengths = [len(targets[there[index]]) for index in batch.indices]
        rows = np.repeat([there[index] for index in batch.indices], lengths)
        for (chosen, q, _), (_, p, _) in zip(chunks(stage, batch, lengths), chunks(base, batch, lengths), strict=True):
            kl = divergence.kl_divergence(q.double(), p.double().to(q.device))
            np.add.at(total, rows[chosen], kl.cpu().numpy())
    return total


def finished(tokenizer: Any, ids: Ids, ended: bool) -> tuple[int, ...]:
    """A text that is finished: the whole of one that ended, else up to its last complete sentence; maybe empty."""
    if ended:
        return tuple(ids)
    for size in range(len(ids), 0, -1):
        if COMPLETE.search(tokenizer.decode(list(ids[:size])).rstrip(" ")):
            return tuple(ids[:size])
    return ()


def written_behind(
    chain: Chain, stage: Stage, documents: Sequence[Ids], separator: str, decoding: Decoding
) -> list[str | None]:
    """What a stage writes behind each document and a separator; nothing where that leaves no room in the context.

    Every text has its own random numbers, the same for all stages. `""` is no separator.
    """
    between = tuple(chain.tuned.tokenizer(separator, add_special_tokens=False).input_ids) if separator else ()
    room = chain.alignment.context - len(between)
    there = [row for row, ids in enumerate(documents) if 0 < len(ids) < room]
    given = [(*documents[row], *between) for row in there]
    written = complete_many(stage, given, decoding, context=chain.alignment.context, samples=1)
    texts: list[str | None] = [None] * len(documents)
    for row, (only,) in zip(there, written, strict=True):
        texts[row] = chain.tuned.tokenizer.decode(list(only))
    return texts
