"""n-grams: counts by a plain set, the adjustment against chance, and additivity over texts."""

import numpy as np
import pytest

from mcinterp.diversity.ngrams import (
    adjusted,
    distinct_ngrams,
    expectation_adjusted_distinct,
    expected_distinct,
    ngrams,
    parts,
)

TEXTS = [["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "sat", "on", "a", "dog"], ["the"]]


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_parts_sum_to_different_and_all_ngrams(n: int) -> None:
    every = [gram for text in TEXTS for gram in ngrams(text, n)]
    np.testing.assert_allclose(parts(TEXTS, n).sum(axis=0), [len(set(every)), len(every)])
    expected = len(set(every)) / len(every) if every else np.nan
    assert distinct_ngrams(TEXTS, n) == pytest.approx(expected, nan_ok=True)


def test_ead_is_the_published_formula() -> None:
    vocabulary = 11
    each = []
    for n in (1, 2, 3, 4, 5):
        every = [tuple(t[i : i + n]) for t in TEXTS for i in range(len(t) - n + 1)]
        c = len(every)
        each.append(len(set(every)) / (vocabulary * (1 - ((vocabulary - 1) / vocabulary) ** c)))
    assert expectation_adjusted_distinct(TEXTS, vocabulary) == pytest.approx(np.mean(each))


def test_uniform_draws_have_ead_one_and_distinct_falls_with_length() -> None:
    random, vocabulary = np.random.default_rng(0), 50
    found = {
        size: np.mean([[expectation_adjusted_distinct([x], vocabulary, (1,)), distinct_ngrams([x], 1)]
                       for x in random.integers(vocabulary, size=(400, size)).tolist()], axis=0)
        for size in (20, 200)
    }  # fmt: skip
    assert found[20][0] == pytest.approx(1, abs=0.01)
    assert found[200][0] == pytest.approx(1, abs=0.01)
    assert found[200][1] < found[20][1] / 2


def test_large_vocabularies_keep_their_digits_and_nothing_is_missing() -> None:
    assert expected_distinct(np.ones(1), 10**9)[0] == pytest.approx(1, rel=1e-9)
    assert np.isnan(expectation_adjusted_distinct([[]], 10))
    assert np.isnan(adjusted(np.zeros(1), np.zeros(1), 10)).all()
