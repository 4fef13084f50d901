"""Classes of samples: known partitions, and utility against the sum written out."""

import numpy as np
import pytest

from mcinterp.diversity.classes import EXACT, OPENING, by_key, by_pairs, distinct, is_new, utility
from mcinterp.errors import InputError

TEXTS = ["a b", "c", "a b", "C", "d", "c", "e"]


def test_classes_are_numbered_in_order_of_appearance_and_counted_not_by_their_largest_number() -> None:
    labels = EXACT(TEXTS)
    np.testing.assert_array_equal(labels, [0, 1, 0, 2, 3, 1, 4])
    assert distinct(labels) == 5 == labels.max() + 1
    assert distinct(EXACT(["x"] * 4)) == 1


def test_a_callers_own_equivalence_is_compared_with_the_first_of_each_class() -> None:
    np.testing.assert_array_equal(by_pairs(lambda a, b: a.lower() == b.lower())(TEXTS), [0, 1, 0, 1, 2, 1, 3])
    np.testing.assert_array_equal(by_key(str.lower)(TEXTS), [0, 1, 0, 1, 2, 1, 3])
    near = by_pairs(lambda a, b: abs(int(a) - int(b)) <= 1)
    np.testing.assert_array_equal(near(["1", "2", "3", "4"]), [0, 0, 1, 1])


def test_an_opening_ignores_capitals_and_punctuation() -> None:
    texts = ["Why did the tomato turn red?", "why, did the tomato turn... blue", "Why did the tomato's skin turn?"]
    np.testing.assert_array_equal(OPENING(texts), [0, 0, 1])


@pytest.mark.parametrize("patience", [0.3, 0.8])
def test_utility_is_the_sum_of_the_paper(patience: float) -> None:
    labels, worth = np.asarray([0, 0, 1, 2, 1]), np.asarray([2.0, 9.0, 5.0, 7.0, 3.0])
    p, k = patience, 5
    expected = (1 - p) / (1 - p**k) * (2.0 + p**2 * 5.0 + p**3 * 7.0)
    assert utility(labels, worth, patience=p) == pytest.approx(expected)
    assert utility(np.arange(7), patience=p) == pytest.approx(1.0)
    assert utility(np.zeros(7, dtype=int), patience=p) == pytest.approx((1 - p) / (1 - p**7))
    np.testing.assert_array_equal(is_new(labels), [True, False, True, True, False])


def test_a_patience_or_utilities_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match="got patience=1"):
        utility(np.arange(3), patience=1.0)
    with pytest.raises(InputError, match="got 2 utilities for 3 samples"):
        utility(np.arange(3), np.ones(2))
