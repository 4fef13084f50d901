"""What tuning did to each token by its rank under the base: log-probabilities in, means over bins of ranks out.

`p` is the base, `q` the tuned stage, one pair a row, the vocabulary last. Ren and Sutherland (2024) predict a squeezing
effect of training on dispreferred answers: the base's most likely token rises and all others fall.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int

LogProbs = Float[torch.Tensor, "row vocabulary"]
ByBin = Float[torch.Tensor, "row bin"]
Bins = Sequence[tuple[int, int]]

LAST_RANKS = (1, 2, 3, 10, 30, 100, 300, 1000)


class ByRank(NamedTuple):
    """What became of the tokens of each bin of base ranks."""

    log_prob_change: ByBin
    mass_change: ByBin
    raised_share: ByBin


def rank_bins(vocabulary: int) -> list[tuple[int, int]]:
    """First and last base rank of every bin, the last one up to the end of the vocabulary."""
    ends = [*(end for end in LAST_RANKS if end < vocabulary), vocabulary]
    return list(zip([1, *(end + 1 for end in ends)], ends, strict=False))


def bin_names(bins: Bins) -> list[str]:
    """Names of bins, such as 1 and 4-10; the last one is open."""
    names = [str(low) if low == high else f"{low}-{high}" for low, high in bins[:-1]]
    return [*names, f"{bins[-1][0]}+"]


def by_base_rank(q: LogProbs, p: LogProbs, bins: Bins) -> ByRank:
    """What became of the tokens of each bin of base ranks (of equally likely ones the lower id comes first).

    `log_prob_change`: mean of log q - log p, nats, every token alike. `mass_change`: sum of q - p, which sums to 0 over
    all bins. `raised_share`: share of the tokens with q > p, in [0, 1].
    """
    order = p.argsort(dim=-1, descending=True, stable=True)
    left, right = q.gather(-1, order).double(), p.gather(-1, order).double()
    return ByRank(
        over_bins(left - right, bins, mean=True),
        over_bins(left.exp() - right.exp(), bins, mean=False),
        over_bins((left > right).double(), bins, mean=True),
    )


def over_bins(ordered: LogProbs, bins: Bins, *, mean: bool) -> ByBin:
    """Mean or sum over the columns of each bin (counted from 1)."""
    parts = [ordered[:, low - 1 : high] for low, high in bins]
    return torch.stack([part.mean(dim=-1) if mean else part.sum(dim=-1) for part in parts], dim=-1)


def is_end(token: Int[torch.Tensor, "row"], end: frozenset[int]) -> Float[torch.Tensor, "row"]:
    """1 where a token ends the text, else 0."""
    return torch.isin(token, torch.tensor(sorted(end), dtype=token.dtype, device=token.device)).double()
