"""Different n-grams in a set of texts, as a share of all of them and of as many as chance would give."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

Tokens = Sequence[Hashable]
LENGTHS = (1, 2, 3, 4, 5)


def ngrams(tokens: Tokens, n: int) -> list[tuple[Hashable, ...]]:
    """All runs of n tokens of a text."""
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def parts(texts: Sequence[Tokens], n: int) -> Float[np.ndarray, "text 2"]:
    """How many different n-grams and how many in all each text adds: an n-gram found m times counts 1/m each time.

    Summed over the texts these are the numbers of different n-grams and of all n-grams of the set.
    """
    counts = Counter(gram for tokens in texts for gram in ngrams(tokens, n))
    each = [[sum(1 / counts[gram] for gram in own), len(own)] for own in (ngrams(tokens, n) for tokens in texts)]
    return np.asarray(each, dtype=float).reshape(len(texts), 2)


def distinct_ngrams(texts: Sequence[Tokens], n: int) -> float:
    """distinct-n: different n-grams over all n-grams (Li et al. 2016); falls with length, missing without n-grams."""
    different, whole = parts(texts, n).sum(axis=0)
    return float(different / whole) if whole else float("nan")


def expected_distinct(whole: Float[np.ndarray, "*any"], vocabulary: int) -> Float[np.ndarray, "*any"]:
    """V (1 - ((V - 1) / V)^C): different values among C uniform draws of V."""
    return -vocabulary * np.expm1(whole * np.log1p(-1 / vocabulary))


def adjusted(
    different: Float[np.ndarray, "*any"], whole: Float[np.ndarray, "*any"], vocabulary: int
) -> Float[np.ndarray, "*any"]:
    """EAD of given numbers of n-grams, N / (V (1 - ((V - 1) / V)^C)); missing where there is none."""
    expected = expected_distinct(whole, vocabulary)
    return np.divide(different, expected, out=np.full(np.shape(different), np.nan), where=expected > 0)


def expectation_adjusted_distinct(texts: Sequence[Tokens], vocabulary: int, lengths: Sequence[int] = LENGTHS) -> float:
    """EAD, the mean over n = 1..5 of different n-grams over as many as C uniform draws of V would give.

    After Liu et al. (2022), as Kirk et al. (2024) use it: over all samples of one input (per-input), or over one
    sample of each input (across-input); V is the vocabulary for every n. Lengths without an n-gram are left out;
    missing where no text has a token. `vocabulary` must be 2 or more.
    """
    found = np.stack([parts(texts, n).sum(axis=0) for n in lengths])
    values = adjusted(found[:, 0], found[:, 1], vocabulary)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
