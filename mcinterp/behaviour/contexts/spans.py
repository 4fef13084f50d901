"""Spans of tokens that stand in two places: what a prompt repeats, and what a text copies from it. Pure maths."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Ids = Sequence[int]
Runs = Int[np.ndarray, "one other"]


def common_runs(one: Ids, other: Ids) -> Runs:
    """For every pair of places, how many tokens up to and including both are the same in both sequences."""
    first, second = np.asarray(one, dtype=np.int64), np.asarray(other, dtype=np.int64)
    runs = np.zeros((len(first) + 1, len(second) + 1), dtype=np.int64)
    for row, token in enumerate(first):
        runs[row + 1, 1:] = np.where(second == token, runs[row, :-1] + 1, 0)
    return runs[1:, 1:]


def longest_common_span(one: Ids, other: Ids) -> int:
    """Tokens of the longest common substring of two sequences; 0 where they share no token."""
    return int(common_runs(one, other).max(initial=0))


def longest_repeated_span(ids: Ids) -> int:
    """Tokens of the longest n-gram that occurs twice in a sequence, the two occurrences apart from each other."""
    runs = common_runs(ids, ids)
    place = np.arange(len(ids))
    apart = place[:, None] - place[None, :]
    return int(np.where(apart > 0, np.minimum(runs, apart), 0).max(initial=0))
