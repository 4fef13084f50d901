"""Attractors of a run, and how far outputs still depend on their prompt: words and arrays in, numbers out."""

import re
from collections.abc import Callable, Collection, Sequence

import numpy as np
from jaxtyping import Float, Int

from mcinterp.diversity.clusters import components, k_means
from mcinterp.diversity.occurrences import surprise
from mcinterp.diversity.substrings import Task, Words, runs, shares, words

Belongs = Callable[[str], bool]
Labels = Int[np.ndarray, "prompt sample"]
PerPrompt = Float[np.ndarray, "prompt"]
BREAK = re.compile(r"\n[ \t]*(?:[-*_=~#•⁂][ \t]*){3,}(?=\n|$)|<\|(?:endoftext|im_end|eot_id)\|>|</s>")
NEARLY = 0.9
VARIANCE, COMPONENTS = 0.9, 20


def gained_most(base: Task, stage: Task, longest: int, without: Collection[Words] = ()) -> Words:
    """The run of words whose share of samples rose most from the base to a stage.

    Of strings of 1 to `longest` words it is the longest whose gain is at least `NEARLY` of the largest gain, the first
    in alphabetical order of equals; empty where nothing rose. Each prompt weighs the same. `without` leaves runs out.
    """
    best: list[tuple[float, Words]] = []
    for n in range(1, longest + 1):
        before = shares(base, n)
        gains = {run: share - before.get(run, 0.0) for run, share in shares(stage, n).items() if run not in without}
        rose = {run: gain for run, gain in gains.items() if gain > 0}
        if rose:
            run = min(rose, key=lambda each: (-round(rose[each], 12), each))
            best.append((rose[run], run))
    if not best:
        return ()
    enough = NEARLY * max(gain for gain, _ in best)
    return max((run for gain, run in best if gain >= enough), key=len)


def holding(run: Words) -> Belongs:
    """The class of texts that hold a run of words; no text is of the class of the empty run."""

    def belongs(text: str) -> bool:
        return bool(run) and run in runs(words(text), len(run))

    return belongs


def pieces(text: str) -> tuple[str, str | None]:
    """What stands before the first section break or end marker of a text, and what behind it; None without one."""
    found = BREAK.search(text)
    return (text, None) if found is None else (text[: found.start()], text[found.end() :])


def jumps(text: str, belongs: Belongs) -> bool:
    """Whether a text is of a class behind its first section break, and not before it."""
    before, behind = pieces(text)
    return behind is not None and belongs(behind) and not belongs(before)


def clustered(
    features: Float[np.ndarray, "stage prompt sample feature"], k: int, seed: int
) -> tuple[Int[np.ndarray, "stage prompt sample"], Float[np.ndarray, "stage prompt sample component"]]:
    """At most `k` k-means clusters of all stages' features together, and the components that they are found in.

    The components hold `VARIANCE` of the variance (`COMPONENTS` at most), in units of the first stage's own spread.
    Missing features have cluster -1 and missing components.
    """
    whole = features.reshape(-1, features.shape[-1])
    there = np.isfinite(whole).all(axis=1)
    spread = float(np.sqrt(np.nanvar(features[0], axis=(0, 1)).sum())) or 1.0
    reduced = components(whole[there] / spread, variance=VARIANCE, at_most=COMPONENTS).values
    labels = np.full(len(whole), -1, dtype=np.int32)
    labels[there] = k_means(reduced, min(k, len(np.unique(reduced, axis=0))), seed=seed)
    placed = np.full((len(whole), reduced.shape[1]), np.nan)
    placed[there] = reduced
    return labels.reshape(features.shape[:3]), placed.reshape(*features.shape[:3], -1)


def cluster_surprise(labels: Labels) -> PerPrompt:
    """-log of the share of a sample's cluster in all prompts' samples, mean over each prompt's samples, in nats.

    exp of its mean is the effective number of clusters. Negative labels are missing.
    """
    there = labels >= 0
    values = np.full(labels.shape, np.nan)
    values[there] = surprise(labels[there])
    count = there.sum(axis=1)
    return np.divide(np.nansum(values, axis=1), count, out=np.full(len(labels), np.nan), where=count > 0)


def clusters_of_half(labels: Labels) -> float:
    """The fewest clusters that together hold half of the samples or more; missing without one.

    Negative labels are missing.
    """
    sizes = np.sort(np.bincount(labels[labels >= 0]))[::-1]
    return float(1 + (2 * sizes.cumsum() >= sizes.sum()).argmax()) if sizes.sum() else float("nan")


def variance_parts(features: Float[np.ndarray, "prompt sample feature"]) -> tuple[PerPrompt, PerPrompt]:
    """Every prompt's part of the variance between prompts, and its own variance within, summed over features.

    The means over prompts are the estimators of a one-way analysis of variance with random effects: what few samples
    alone move the means apart is taken off, so that the first is about 0, and may lie below it, where prompts do not
    matter. Samples with a missing feature do not count; missing for prompts with fewer than two.
    """
    there = np.asarray(np.isfinite(features).all(axis=-1))
    count = there.sum(axis=1)
    read = count >= 2
    between, within = np.full(len(features), np.nan), np.full(len(features), np.nan)
    if read.sum() < 2:
        return between, within
    filled = np.where(there[..., None], features, 0.0)[read]
    sizes = count[read][:, None]
    means = filled.sum(axis=1) / sizes
    off = np.where(there[read][..., None], filled - means[:, None], 0.0)
    within[read] = (off**2).sum(axis=(1, 2)) / (sizes[:, 0] - 1)
    apart = ((means - means.mean(axis=0)) ** 2).sum(axis=1) * len(means) / (len(means) - 1)
    between[read] = apart - within[read] / sizes[:, 0]
    return between, within


def texts_in_words(texts: np.ndarray, prompts: Sequence[int]) -> list[list[Words]]:
    """The words of the texts of some prompts (texts over prompt and sample)."""
    return [[words(str(text)) for text in texts[prompt]] for prompt in prompts]
