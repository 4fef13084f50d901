"""The Vendi score: published check values, and its limits."""

import numpy as np
import pytest

from mcinterp.diversity.occurrences import effective_number
from mcinterp.diversity.vendi import class_kernel, cosine_kernel, vendi_score
from mcinterp.errors import InputError

THREE = np.asarray([[1.0, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
ON_A_LINE = np.exp(-np.abs(np.subtract.outer([0, 0, 10, 10, 20, 20], [0, 0, 10, 10, 20, 20])))


@pytest.mark.parametrize(
    ("order", "three", "line"),
    [(1.0, 2.1573004834, 2.9999999959), (0.5, 2.4203483571, 3.0000000271), (2.0, 1.9480519481, 2.9999999918),
     (np.inf, 1.5789473684, 2.9998073934)],
)  # fmt: skip
def test_check_values(order: float, three: float, line: float) -> None:
    assert vendi_score(THREE, order) == pytest.approx(three, abs=1e-8)
    assert vendi_score(ON_A_LINE, order) == pytest.approx(line, abs=1e-4)


@pytest.mark.parametrize("order", [0.0, 0.5, 1.0, 2.0, np.inf])
def test_it_counts_what_has_nothing_in_common(order: float) -> None:
    assert vendi_score(np.eye(5), order) == pytest.approx(5)
    assert vendi_score(np.ones((5, 5)), order) == pytest.approx(1)


def test_of_classes_it_is_their_effective_number_and_orders_are_continuous() -> None:
    labels = np.asarray([0, 0, 0, 1, 1, 2, 3])
    assert vendi_score(class_kernel(labels)) == pytest.approx(effective_number(labels))
    assert vendi_score(THREE, 1 + 1e-6) == pytest.approx(vendi_score(THREE), abs=1e-4)


def test_cosines_are_a_kernel() -> None:
    features = np.random.default_rng(0).normal(size=(7, 3))
    kernel = cosine_kernel(features)
    expected = features[2] @ features[5] / np.linalg.norm(features[2]) / np.linalg.norm(features[5])
    assert kernel[2, 5] == pytest.approx(expected)
    assert 1 < vendi_score(kernel) <= 3 + 1e-9


def test_what_is_no_kernel_is_refused() -> None:
    with pytest.raises(InputError, match="not symmetric"):
        vendi_score(np.asarray([[1, 0.5], [0.2, 1.0]]))
    with pytest.raises(InputError, match="eigenvalue -1"):
        vendi_score(np.asarray([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(InputError, match="got order=-1"):
        vendi_score(np.eye(2), -1.0)
