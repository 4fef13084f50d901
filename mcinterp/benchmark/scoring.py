"""How well scores of components find the true ones, by plain arrays: nothing here knows a model."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from mcinterp.errors import InputError

Scores = Float[np.ndarray, "component"]
Truth = Bool[np.ndarray, "component"]


def top_1(scores: Scores, truth: Truth) -> float:
    """1 where every true component scores above every other one (all k of a truth of k are the k best), else 0.

    A tie between a true and another component is no answer: 0.
    """
    return float(scores[truth].min() > scores[~truth].max())


def mean_rank(scores: Scores, truth: Truth) -> float:
    """Mean rank of the true components, at best (k + 1) / 2 for k of them; ties share the mean of their ranks."""
    above = (scores[:, None] < scores[None, :]).sum(axis=1)
    equal = (scores[:, None] == scores[None, :]).sum(axis=1)
    return float((above + (equal + 1) / 2)[truth].mean())


def auroc(scores: Scores, truth: Truth) -> float:
    """How often a true component scores above another one, over all such pairs; a tie counts half."""
    true, other = scores[truth][:, None], scores[~truth][None, :]
    return float(((true > other) + (true == other) / 2).mean())


def share_on_truth(scores: Scores, truth: Truth) -> float:
    """Positive scores of the true components over all positive scores; 0 where none is positive."""
    positive = np.maximum(scores, 0.0)
    total = float(positive.sum())
    return float(positive[truth].sum()) / total if total > 0 else 0.0


MEASURES: dict[str, Callable[[Scores, Truth], float]] = {
    "top_1": top_1,
    "mean_rank": mean_rank,
    "auroc": auroc,
    "share_on_truth": share_on_truth,
}


def found_truth(scores: Mapping[str, float], truth: Sequence[str]) -> dict[str, float]:
    """Every measure of some scores by component; all missing where nothing is true (a pair without collapse).

    Raises `InputError` where a true component has no score, or all components are true.
    """
    if not truth:
        return dict.fromkeys(MEASURES, float("nan"))
    absent = [name for name in truth if name not in scores]
    if absent or len(truth) == len(scores):
        given = f"{absent[0]!r} has no score" if absent else "every component is true"
        raise InputError(f"{given}; score all components, of which some are true and others not.")
    values = np.asarray(list(scores.values()), dtype=float)
    belongs = np.asarray([name in truth for name in scores])
    return {name: measure(values, belongs) for name, measure in MEASURES.items()}


def agreement(given: object, expected: object) -> float:
    """1 where an answer is the expected one, 0 where it is another, missing where none was given."""
    return float("nan") if given is None else float(given == expected)
