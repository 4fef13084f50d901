"""Measures of how well scores find the truth, against values worked out by hand."""

import numpy as np
import pytest

from mcinterp.benchmark.scoring import agreement, auroc, found_truth, mean_rank, share_on_truth, top_1
from mcinterp.errors import InputError


def both(scores: list[float], true: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(scores, dtype=float), np.isin(np.arange(len(scores)), true)


@pytest.mark.parametrize(
    ("scores", "true", "found"),
    [
        ([3, 1, 2, 0, -5], [0], (1.0, 1.0, 1.0, 0.5)),
        ([3, 1, 2, 0, -5], [2], (0.0, 2.0, 0.75, 2 / 6)),
        ([3, 1, 2, 0, -5], [0, 2], (1.0, 1.5, 1.0, 5 / 6)),
        ([3, 1, 2, 0, -5], [0, 1], (0.0, 2.0, 5 / 6, 4 / 6)),
        ([3, 1, 2, 0, -5], [4], (0.0, 5.0, 0.0, 0.0)),
        ([3, 3, 2, 0, -5], [0], (0.0, 1.5, 0.875, 3 / 8)),
        ([1, 1, 1, 1, 1], [2], (0.0, 3.0, 0.5, 0.2)),
        ([0, 0, 0, 0, 0], [2, 3], (0.0, 3.0, 0.5, 0.0)),
        ([-2, -3, -4, -5, -6], [0], (1.0, 1.0, 1.0, 0.0)),
    ],
)
def test_measures_have_their_known_values(scores: list, true: list, found: tuple) -> None:
    values = both(scores, true)
    assert [measure(*values) for measure in (top_1, mean_rank, auroc, share_on_truth)] == pytest.approx(found)


def test_scores_are_measured_by_name_and_nothing_where_nothing_is_true() -> None:
    scores = {"embed": 0.1, "0.attn": 0.6, "0.mlp": 0.3}
    assert found_truth(scores, ("0.attn",)) == pytest.approx(
        {"top_1": 1.0, "mean_rank": 1.0, "auroc": 1.0, "share_on_truth": 0.6}
    )
    assert all(np.isnan(value) for value in found_truth(scores, ()).values())


@pytest.mark.parametrize(
    ("truth", "said"), [(("7.mlp",), "'7.mlp' has no score"), (("a", "b"), "every component is true")]
)
def test_a_truth_that_cannot_be_scored_is_refused(truth: tuple, said: str) -> None:
    with pytest.raises(InputError, match=said):
        found_truth({"a": 1.0, "b": 0.0}, truth)


def test_answers_agree_or_not_or_are_missing() -> None:
    assert (agreement("none", "none"), agreement("joint", "none"), agreement(True, True)) == (1.0, 0.0, 1.0)
    assert np.isnan(agreement(None, "none"))
