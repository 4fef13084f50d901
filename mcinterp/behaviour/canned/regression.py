"""Does the improbability of a word predict how canned the answer is? Rank correlations and slopes of log-odds.

Arrays in, values out. A row is one prompt: a word in a wording (template). Wordings differ in both, so ranks are taken
of what is left when each wording's mean is taken off, averaged over the prompts of a word; and every wording has an
intercept of its own in the fits: least squares of log-odds that are known exactly, a logistic fit of shares.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mcinterp.behaviour.contexts.regression import standardised
from mcinterp.statistics import spearman

Rows = Float[np.ndarray, "row"]
Groups = Int[np.ndarray, "row"]
Features = Float[np.ndarray, "row feature"]
Slopes = Float[np.ndarray, "feature"]
Fit = Callable[[Features, Rows, Groups], Slopes]
RIDGE, STEPS, CLOSE = 1e-2, 50, 1e-8


class Association(NamedTuple):
    """How an outcome goes with an improbability: rank correlation, the same with length held fixed, slopes.

    Slopes are changes of log-odds for one standard deviation within wordings; `slope_given_length` has the length
    beside it.
    """

    rank: float
    rank_given_length: float
    slope: float
    slope_given_length: float


def association(
    improbability: Rows, length: Rows, outcome: Rows, word: Groups, wording: Groups, fit: Fit
) -> Association:
    """How the improbability of words goes with an outcome, with and without their length.

    `fit` is `least_squares` for log-odds, or `fractional_logit` for a share between 0 and 1. Rows that miss a value are
    left out; all is missing where no row is left.
    """
    known = ~(np.isnan(improbability) | np.isnan(outcome))
    rows = [each[known] for each in (improbability, length, outcome)]
    word, wording = word[known], wording[known]
    if not known.any():
        return Association(*[float("nan")] * 4)
    x, z, y = (by_word(each, word, wording) for each in rows)
    rank = spearman(x, y)
    both = np.stack(rows[:2], axis=1)
    slopes = [fit(both[:, :n], rows[2], wording)[0] for n in (1, 2)]
    return Association(rank, partial(rank, spearman(x, z), spearman(y, z)), float(slopes[0]), float(slopes[1]))


def by_word(values: Rows, word: Groups, wording: Groups) -> Float[np.ndarray, "word"]:
    """Mean over the rows of every word (in the order of their numbers) of the values without their wording's mean."""
    return group_means(without_means(values, wording), word)[1]


def without_means(values: Rows, group: Groups) -> Rows:
    """Values without the mean of their group."""
    places, means = group_means(values, group)
    return values - means[places]


def group_means(values: Rows, group: Groups) -> tuple[Groups, Float[np.ndarray, "group"]]:
    """The place of every row's group among the groups' means, and those means, in the order of their numbers."""
    places = np.unique(group, return_inverse=True)[1]
    return places, np.bincount(places, weights=values) / np.bincount(places)


def told_apart(word: Groups, wording: Groups) -> Groups:
    """Numbers of words in which the second time that a word has the same wording counts as another word.

    So that a word that a resample draws twice weighs twice.
    """
    pair = np.unique(np.stack([word, wording]), axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(pair, kind="stable")
    first = np.searchsorted(pair[order], pair)
    time = np.empty_like(pair)
    time[order] = np.arange(len(pair))
    return word + (word.max(initial=0) + 1) * (time - first)


def partial(xy: float, xz: float, yz: float) -> float:
    """A correlation of x and y with z held fixed: (r_xy - r_xz r_yz) / sqrt((1 - r_xz²)(1 - r_yz²)).

    Where z does not vary, the plain one; missing where it determines one of the two.
    """
    if np.isnan(xz) or np.isnan(yz):
        return xy
    room = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / np.sqrt(room)) if room > 1e-9 else float("nan")


def within(x: Features, wording: Groups) -> Features:
    """Features without their wordings' means, in standard deviations of what is left."""
    inner = np.stack([without_means(column, wording) for column in x.T], axis=1)
    return standardised(inner, inner)


def least_squares(x: Features, y: Rows, wording: Groups) -> Slopes:
    """Slopes of an outcome for one standard deviation of each feature within wordings; a wording has its own mean."""
    return np.linalg.lstsq(within(x, wording), without_means(y, wording), rcond=None)[0]


def fractional_logit(x: Features, y: Rows, wording: Groups) -> Slopes:
    """The same of the log-odds of a share, itself only seen in samples (Papke & Wooldridge 1996).

    Bernoulli likelihood with shares for outcomes, by Newton's method; an intercept a wording, and a small ridge on all
    coefficients, without which shares of 0 or 1 have no finite slope. It pulls slopes to 0 where all are nearly so.
    """
    design = np.concatenate([within(x, wording), np.eye(int(wording.max()) + 1)[wording]], axis=1)
    coefficients = np.zeros(design.shape[1])
    for _ in range(STEPS):
        fitted = 1.0 / (1.0 + np.exp(-np.clip(design @ coefficients, -30, 30)))
        gradient = design.T @ (y - fitted) - RIDGE * coefficients
        curvature = (design.T * (fitted * (1 - fitted))) @ design + RIDGE * np.eye(len(coefficients))
        step = np.linalg.solve(curvature, gradient)
        coefficients = coefficients + step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < CLOSE:
            break
    return coefficients[: x.shape[1]]
