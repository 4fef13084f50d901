"""Uncertainty over prompts: intervals by bootstrap over templates, and a null by swapping labels; rank correlation.

Prompts are the unit of evidence, and prompts of one template are near-copies: whole templates are drawn.
Functions of prompts take values with the prompt axis first and the template (group) of each prompt.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Values = Float[np.ndarray, "prompt *rest"]
Statistic = Callable[[Values], np.ndarray]
ENDS = ("mean", "ci_low", "ci_high")


class Interval(NamedTuple):
    """An estimate with the ends of its interval (same unit)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, *index: int) -> dict[str, float]:
        """One element as plain numbers: `mean`, `ci_low`, `ci_high`."""
        return {name: float(end[index]) for name, end in zip(ENDS, self, strict=True)}

    def named(self, name: str) -> dict[str, np.ndarray]:
        """Estimate and ends under the names that a dataset gives them: `name`, `name_low`, `name_high`."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


def mean_over_prompts(values: Values) -> np.ndarray:
    """Mean over the prompts that have a value; missing where none has."""
    present = ~np.isnan(values)
    total = np.where(present, values, 0.0).sum(axis=0)
    count = present.sum(axis=0)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def bootstrap_samples(
    values: Values, groups: Sequence[str], statistic: Statistic, *, draws: int, seed: int
) -> np.ndarray:
    """The statistic of `draws` resamples, each of as many whole groups as there are (Efron's cluster bootstrap)."""
    members = [np.flatnonzero(np.asarray(groups) == group) for group in dict.fromkeys(groups)]
    random = np.random.default_rng(seed)
    picks = random.integers(len(members), size=(draws, len(members)))
    if statistic is mean_over_prompts and not np.isinf(values).any():
        return resampled_means(values, members, picks)
    return np.stack([statistic(values[np.concatenate([members[i] for i in pick])]) for pick in picks])


def resampled_means(
    values: Values, members: Sequence[np.ndarray], picks: Int[np.ndarray, "draw group"]
) -> Float[np.ndarray, "draw *rest"]:
    """`mean_over_prompts` of every resample at once, from the sums and counts of the groups that it picks."""
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    sums, counts = (np.stack([each[rows].sum(axis=0, dtype=float) for rows in members]) for each in (filled, present))
    times = np.stack([np.bincount(pick, minlength=len(members)) for pick in picks]).astype(float)
    total, count = (np.tensordot(times, each, axes=1) for each in (sums, counts))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def bootstrap(
    values: Values,
    groups: Sequence[str],
    statistic: Statistic = mean_over_prompts,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The statistic of all prompts with its percentile interval over resampled templates.

    With one group only, the interval is missing: nothing says how another template would do.
    """
    estimate = statistic(values)
    if len(set(groups)) < 2:
        missing = np.full(np.shape(estimate), np.nan)
        return Interval(estimate, missing, missing)
    samples = bootstrap_samples(values, groups, statistic, draws=draws, seed=seed)
    return Interval(estimate, *percentile_ends(samples, level))


def percentile_ends(samples: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The two ends of the central interval of samples along the first axis, missing samples left out."""
    if samples.size == 0:
        return samples[0], samples[0]
    tail = 50.0 * (1.0 - level)
    present = ~np.isnan(samples).all(axis=0)
    filled = np.where(present, samples, 0.0)
    low, high = np.nanpercentile(filled, [tail, 100.0 - tail], axis=0)
    return np.where(present, low, np.nan), np.where(present, high, np.nan)


def label_swaps(groups: Sequence[str], *, draws: int, seed: int) -> Float[np.ndarray, "draw prompt"]:
    """Random signs, one a template and draw: -1 swaps the labels base and tuned for all prompts of that template.

    Under the null hypothesis that the label says nothing, a difference and its negative are equally likely
    (a sign-flip permutation test on the templates).
    """
    names = list(dict.fromkeys(groups))
    column = np.asarray([names.index(group) for group in groups])
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(names)))
    return signs[:, column]


def average_ranks(values: Float[np.ndarray, "value"]) -> Float[np.ndarray, "value"]:
    """Ranks from 1 for the smallest on; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return ((2 * last - counts + 1) / 2)[which]


def spearman(one: Float[np.ndarray, "value"], other: Float[np.ndarray, "value"]) -> float:
    """Spearman's rank correlation over the values that both have, ties at their mean rank; in [-1, 1].

    Missing where fewer than three values are left, and where one side does not vary over them.
    """
    both = ~(np.isnan(one) | np.isnan(other))
    if both.sum() < 3:
        return float("nan")
    left, right = average_ranks(one[both]), average_ranks(other[both])
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return 1.0 if np.array_equal(left, right) else float(np.corrcoef(left, right)[0, 1])
