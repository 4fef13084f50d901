"""Uncertainty over prompts: intervals by bootstrap over templates, and a null by swapping labels.

Prompts are the unit of evidence, and prompts of one template are near-copies: whole templates are drawn.
Every function takes values with the prompt axis first and the template (group) of each prompt.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

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
    return np.stack([statistic(values[np.concatenate([members[i] for i in pick])]) for pick in picks])


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
