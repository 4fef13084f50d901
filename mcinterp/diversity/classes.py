"""Classes of equivalent texts among k samples, and what going through them is worth (NoveltyBench, Zhang et al. 2025).

The released code of that benchmark reports the largest class number, counted from 0, as the number of classes, one too
few; here classes are counted.
"""

import re
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int

from mcinterp.errors import InputError

Labels = Int[np.ndarray, "sample"]
Partition = Callable[[Sequence[str]], Labels]
WORD = re.compile(r"\w+(?:['’]\w+)*")
PATIENCE = 0.8


def by_key(key: Callable[[str], Hashable]) -> Partition:
    """Texts are equivalent where `key` gives the same; classes are numbered from 0 in order of appearance."""

    def partition(texts: Sequence[str]) -> Labels:
        seen: dict[Hashable, int] = {}
        return np.asarray([seen.setdefault(key(text), len(seen)) for text in texts], dtype=np.int64)

    return partition


def by_pairs(same: Callable[[str, str], bool]) -> Partition:
    """Classes of a caller's own equivalence, say of a classifier of pairs: a text joins the first class that takes it.

    It is compared with the first member of each class, so that an equivalence that is not transitive gives classes
    all the same, which then depend on the order of the texts.
    """

    def partition(texts: Sequence[str]) -> Labels:
        firsts: list[str] = []
        found: list[int] = []
        for text in texts:
            number = next((n for n, first in enumerate(firsts) if same(first, text)), len(firsts))
            found.append(number)
            if number == len(firsts):
                firsts.append(text)
        return np.asarray(found, dtype=np.int64)

    return partition


def first_words(count: int) -> Callable[[str], tuple[str, ...]]:
    """The first words of a text, in small letters and without punctuation."""

    def key(text: str) -> tuple[str, ...]:
        return tuple(WORD.findall(text.lower())[:count])

    return key


EXACT = by_key(str)
OPENING = by_key(first_words(5))
EQUIVALENCES: dict[str, Partition] = {"exact": EXACT, "opening": OPENING}
"""`exact`: the same text; `opening`: the same first five words."""


def distinct(labels: Labels) -> int:
    """The number of classes among the samples (distinct_k), between 1 and k."""
    return len(np.unique(labels))


def is_new(labels: Labels) -> np.ndarray:
    """Whether each sample is the first of its class."""
    first = np.zeros(len(labels), dtype=bool)
    first[np.unique(labels, return_index=True)[1]] = True
    return first


def utility(
    labels: Labels, utilities: Float[np.ndarray, "utility"] | None = None, *, patience: float = PATIENCE
) -> float:
    """utility_k = (1 - p) / (1 - p^k) sum_i p^(i-1) 1[sample i opens a new class] u_i, in order of the samples.

    What a reader gets who looks at one sample after another and goes on with probability p, `patience`, where only
    new classes are worth anything. In the unit of the utilities; those are 1 unless given, and so is then the largest
    value. Raises `InputError` for a patience outside (0, 1) or another number of utilities.
    """
    if not 0 < patience < 1:
        raise InputError(f"got patience={patience}; give a number between 0 and 1, both left out.")
    worth = np.ones(len(labels)) if utilities is None else np.asarray(utilities, dtype=float)
    if len(worth) != len(labels):
        raise InputError(f"got {len(worth)} utilities for {len(labels)} samples; give one each.")
    weights = patience ** np.arange(len(labels))
    return float((weights * is_new(labels) * worth).sum() / weights.sum())
