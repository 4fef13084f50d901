"""Written tokens read at a temperature: their log-probability, and the entropy of what they were drawn from.

The logits of a stage are divided by the temperature, one a text; entropy grows with it (d H / d log T is the variance
of log q under q^(1/T)), so that the temperature with a wanted mean entropy is unique.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float

from mcinterp import divergence
from mcinterp.batching import Batch, batches
from mcinterp.capture import Point, affordable_tokens, capture
from mcinterp.chain import Stage
from mcinterp.progress import Progress
from mcinterp.scoring import LOGIT_BYTES, continuation_cells

Ids = Sequence[int]
Table = Float[np.ndarray, "text step"]
Rows = Float[torch.Tensor, "_ vocabulary"]
CAP = 20.0
GRID = np.exp(np.linspace(-np.log(CAP), np.log(CAP), 81))
ROWS_AT_ONCE = 4
LEAST_SCORE = -1e6


def read_tempered(
    stage: Stage, before: Sequence[Ids], written: Sequence[Ids], steps: int, temperatures: Sequence[float]
) -> tuple[Table, Table]:
    """Log-probability of every written token at its text's temperature, and the entropy it came from (nats).

    Missing behind the end of a text; of texts of more than `steps` tokens the first count.
    """
    found = np.full((len(written), steps), np.nan), np.full((len(written), steps), np.nan)
    scale = torch.tensor(np.asarray(temperatures, dtype=np.float64))

    def keep(rows: np.ndarray, steps_: np.ndarray, read: Rows, tokens: torch.Tensor) -> None:
        tempered = divergence.log_probs(read.double() / scale[rows, None].to(read.device))
        found[0][rows, steps_] = divergence.token_log_prob(tempered, tokens).cpu().numpy()
        found[1][rows, steps_] = divergence.entropy(tempered).cpu().numpy()

    each_chunk(stage, before, [ids[:steps] for ids in written], keep)
    return found


def entropy_curves(
    stage: Stage, before: Sequence[Ids], written: Sequence[Ids], temperatures: np.ndarray = GRID
) -> tuple[Float[np.ndarray, "text temperature"], Float[np.ndarray, "text"]]:
    """The entropy at every temperature, summed over the written tokens of each text, and how many tokens those are."""
    total = np.zeros((len(written), len(temperatures)))
    counts = np.asarray([len(ids) for ids in written], dtype=float)

    def keep(rows: np.ndarray, steps_: np.ndarray, read: Rows, tokens: torch.Tensor) -> None:
        scores = (read - read.max(dim=-1, keepdim=True).values).clamp(min=LEAST_SCORE)
        curves = torch.stack([tempered_entropy(scores / temperature) for temperature in temperatures], dim=-1)
        np.add.at(total, rows, curves.cpu().double().numpy())

    each_chunk(stage, before, written, keep)
    return total, counts


def tempered_entropy(scores: Rows) -> Float[torch.Tensor, "_"]:
    """H of the softmax of finite scores of at most 0, in nats: log of the sum of their exponentials less their mean."""
    weights = scores.exp()
    whole = weights.sum(dim=-1)
    return whole.log() - (weights * scores).sum(dim=-1) / whole


def each_chunk(
    stage: Stage,
    before: Sequence[Ids],
    written: Sequence[Ids],
    keep: Callable[[np.ndarray, np.ndarray, Rows, torch.Tensor], None],
) -> None:
    """Give `keep` the text, step, log-probabilities and written token of every token, a chunk at a time.

    Texts that are the same behind the same tokens are read once.
    """
    rows_of: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for row, ids in enumerate(written):
        if len(ids):
            rows_of.setdefault((tuple(before[row]), tuple(ids)), []).append(row)
    texts, owners = list(rows_of), list(rows_of.values())
    sequences = [(*first, *ids) for first, ids in texts]
    listed = list(batches(sequences, max_tokens=affordable_tokens(stage, 1))) if texts else []
    for batch in Progress(listed, desc=f"{stage.name} reads", unit="batch"):
        lengths = [len(texts[index][1]) for index in batch.indices]
        which = np.repeat(list(batch.indices), lengths)
        steps = np.concatenate([np.arange(length) for length in lengths])
        for chosen, read, tokens in chunks(stage, batch, lengths):
            for rows, kept in each_owner([owners[index] for index in which[chosen]]):
                keep(rows, steps[chosen][kept.numpy()], read[kept.to(read.device)], tokens[kept.to(read.device)])


def each_owner(owners: Sequence[Sequence[int]]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """The first owner of every cell, then the second of those that have one, and so on, with the cells' places."""
    for time in range(max(map(len, owners))):
        kept = [place for place, rows in enumerate(owners) if len(rows) > time]
        yield np.asarray([owners[place][time] for place in kept]), torch.tensor(kept)


@torch.inference_mode()
def chunks(stage: Stage, batch: Batch, lengths: Sequence[int]) -> Iterator[tuple[slice, Rows, torch.Tensor]]:
    """The log-probabilities behind which each of the last `lengths` tokens of every row stands, and those tokens."""
    hook = Point(stage.n_layers - 1, "resid_post").hook
    residual = capture(stage, batch, [hook])[hook]
    row, column = continuation_cells(batch, lengths)
    size = max(1, LOGIT_BYTES // (4 * ROWS_AT_ONCE * stage.readout.vocabulary))
    for start in range(0, len(row), size):
        r, c = row[start : start + size], column[start : start + size]
        read = stage.readout.log_probs(residual[r.to(residual.device), (c - 1).to(residual.device)])
        yield slice(start, start + size), read, batch.tokens[r, c].to(read.device)


def temperature_of_entropy(curve: Float[np.ndarray, "temperature"], entropy: float, grid: np.ndarray = GRID) -> float:
    """The temperature at which a curve of mean entropies takes a value, between two grid points by log temperature.

    The ends of the grid where it takes it nowhere; missing where the curve or the value is.
    """
    if not np.isfinite(entropy) or not np.isfinite(curve).all():
        return float("nan")
    return float(np.exp(np.interp(entropy, curve, np.log(grid))))
