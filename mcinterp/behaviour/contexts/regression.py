"""Least squares with a ridge, judged on groups that it has not seen. Arrays in, values out.

A prediction of a prompt is made by a fit to the prompts of all other groups (templates), so near-copies never help.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mcinterp.errors import InputError

Features = Float[np.ndarray, "row feature"]
Values = Float[np.ndarray, "row"]


def ridge(x: Features, y: Values, strength: float) -> tuple[Float[np.ndarray, "feature"], float]:
    """Slopes and intercept that minimise |y - x b - a|^2 + strength |b|^2 (Hoerl & Kennard 1970); a is free.

    With strength 0 least squares, of which the shortest solution is taken where several are as good.
    """
    centre, level = x.mean(axis=0), float(y.mean())
    inner = x - centre
    moments = inner.T @ inner + strength * np.eye(x.shape[1])
    slopes = np.linalg.lstsq(moments, inner.T @ (y - level), rcond=None)[0]
    return slopes, level - float(centre @ slopes)


def standardised(x: Features, by: Float[np.ndarray, "fitted feature"]) -> Features:
    """x less the mean of `by`, over its standard deviation; what is missing, or does not vary there, becomes 0."""
    present = ~np.isnan(by)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, by, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(present, (by - mean) ** 2, 0.0).sum(axis=0) / count)
    varies = spread > 1e-9 * np.maximum(1.0, np.abs(mean))
    scaled = (x - mean) / np.where(varies, spread, 1.0)
    return np.where(varies & ~np.isnan(x), scaled, 0.0)


def standardised_slopes(x: Features, y: Values, strength: float) -> Float[np.ndarray, "feature"]:
    """Slopes of y for one standard deviation of every feature, over the rows that have a y."""
    known = ~np.isnan(y)
    return ridge(standardised(x[known], x[known]), y[known], strength)[0]


def held_out(x: Features, y: Values, groups: Sequence[str], strength: float) -> tuple[Values, Values]:
    """Every row's prediction by the rows of other groups, and those rows' mean, the guess without features.

    Features are standardised by the rows that are fitted. Missing for a row without a y.

    Raises:
        InputError: for fewer than two groups.
    """
    labels = np.asarray(groups)
    if len(set(groups)) < 2:
        raise InputError(f"got {len(set(groups))} template(s); give 2 or more, so that one can be left out.")
    known = ~np.isnan(y)
    predicted, guessed = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for group in dict.fromkeys(groups):
        here, rest = known & (labels == group), known & (labels != group)
        if here.any() and rest.any():
            slopes, level = ridge(standardised(x[rest], x[rest]), y[rest], strength)
            predicted[here] = standardised(x[here], x[rest]) @ slopes + level
            guessed[here] = y[rest].mean()
    return predicted, guessed


def explained(y: Values, predicted: Values, guessed: Values) -> float:
    """1 - squared error over that of the guess: 1 is exact, 0 no better than the mean of the other groups."""
    known = ~(np.isnan(y) | np.isnan(predicted) | np.isnan(guessed))
    error, whole = (np.square(y[known] - each[known]).sum() for each in (predicted, guessed))
    return float(1.0 - error / whole) if whole > 0 else float("nan")
