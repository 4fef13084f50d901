"""Measures of sets of samples as arrays over stage and prompt, by the pure functions of `mcinterp.diversity`.

Those of one prompt's samples stand for themselves. Those of a pool (all outputs of a stage for the prompts of one
genre) are given prompt by prompt too, as parts whose mean over prompts is the measure, or makes it: so intervals can be
drawn over templates with the pool held fixed, where doubled prompts do not pass for repeated outputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mcinterp.behaviour.diversity.settings import Sampling
from mcinterp.diversity import information, ngrams, occurrences
from mcinterp.diversity.bleu import self_bleu, signature
from mcinterp.diversity.classes import Partition, distinct, utility
from mcinterp.diversity.vendi import cosine_kernel, vendi_score

CELL = ("stage", "prompt")
Utility = Callable[[str, str], float]
Variables = dict[str, tuple[tuple[str, ...], np.ndarray, str]]
Tokens = Sequence[Sequence[Sequence[tuple[int, ...]]]]


def cells(shape: Sequence[int], measure: Callable[[int, int], Any]) -> np.ndarray:
    """A measure of every stage and prompt, as float32."""
    return np.asarray([[measure(s, p) for p in range(shape[1])] for s in range(shape[0])], dtype=np.float32)


def of_classes(
    texts: np.ndarray, prompts: Sequence[str], partitions: Mapping[str, Partition], worth: Utility | None, how: Sampling
) -> Variables:
    """distinct_k and utility_k of every equivalence (texts over stage, prompt, sample)."""
    dims, shape = (*CELL, "equivalence"), texts.shape
    labels = [[[part(texts[s, p].tolist()) for part in partitions.values()] for p in range(shape[1])]
              for s in range(shape[0])]  # fmt: skip
    utilities = None if worth is None else utilities_of(texts, prompts, worth)

    def useful(s: int, p: int) -> list[float]:
        own = None if utilities is None else utilities[s, p]
        return [utility(each, own, patience=how.patience) for each in labels[s][p]]

    named = f"k={how.samples}"
    counts = cells(shape, lambda s, p: [distinct(each) for each in labels[s][p]])
    of_worth = "utility 1 (novelty alone)" if worth is None else "the caller's utility"
    return {
        "distinct_classes": (dims, counts, named),
        "class_utility": (dims, cells(shape, useful), f"{named}, patience={how.patience:g}, {of_worth}"),
    }


def utilities_of(texts: np.ndarray, prompts: Sequence[str], worth: Utility) -> np.ndarray:
    """The utility of every sample."""
    found = [[[worth(prompts[p], text) for text in texts[s, p].tolist()] for p in range(texts.shape[1])]
             for s in range(texts.shape[0])]  # fmt: skip
    return np.asarray(found, dtype=float)


def of_tokens(tokens: Tokens, vocabulary: int, how: Sampling) -> Variables:
    """distinct-n and per-input EAD of every prompt's samples, as token n-grams."""
    shape = (len(tokens), len(tokens[0]))
    each = cells(shape, lambda s, p: [ngrams.distinct_ngrams(tokens[s][p], n) for n in how.lengths])
    ead = cells(shape, lambda s, p: ngrams.expectation_adjusted_distinct(tokens[s][p], vocabulary, how.lengths))
    named = f"K={how.samples}, n={list(how.lengths)}"
    return {
        "distinct_ngrams": ((*CELL, "ngram"), each, f"K={how.samples}, token n-grams"),
        "expectation_adjusted_distinct": (CELL, ead, f"{named}, V={vocabulary}, token n-grams, per input"),
    }


def of_texts(texts: np.ndarray) -> Variables:
    """Self-BLEU of every prompt's samples."""
    values = cells(texts.shape, lambda s, p: self_bleu(texts[s, p].tolist()))
    return {"self_bleu": (CELL, values, f"K={texts.shape[2]}, {signature()}")}


def of_features(features: np.ndarray, how: Sampling, encoder: str) -> Variables:
    """The Vendi scores of every prompt's samples by cosine (features over stage, prompt, sample, feature)."""
    centred = features - np.nanmean(features[0], axis=(0, 1))

    def scores(s: int, p: int) -> list[float]:
        there = centred[s, p][np.isfinite(centred[s, p]).all(axis=1)]
        if not len(there):
            return [np.nan] * len(how.orders)
        return [vendi_score(cosine_kernel(there), order) for order in how.orders]

    values = cells(features.shape, scores)
    named = f"K={how.samples}, cosine of features minus the base's mean, {encoder}"
    return {"vendi_score": ((*CELL, "order"), values, named)}


def pools(genres: Sequence[str]) -> Iterator[np.ndarray]:
    """The prompts of every genre."""
    for genre in dict.fromkeys(genres):
        yield np.flatnonzero(np.asarray(genres) == genre)


def of_pools(texts: np.ndarray, genres: Sequence[str], partitions: Mapping[str, Partition], how: Sampling) -> Variables:
    """How often the outputs of a genre occur: what the commonest hold, what is alone, and their surprise."""
    parts = np.zeros((3, *texts.shape[:2], len(partitions)), dtype=np.float32)
    for s, members in ((s, members) for s in range(len(texts)) for members in pools(genres)):
        for e, partition in enumerate(partitions.values()):
            labels = partition(texts[s, members].ravel().tolist()).reshape(len(members), -1)
            found = (occurrences.in_top(labels, how.top), occurrences.alone(labels), occurrences.surprise(labels))
            for number, values in enumerate(found):
                parts[number, s, members, e] = values.mean(axis=1)
    dims, named = (*CELL, "equivalence"), f"pool of a genre's prompts, K={how.samples} each"
    return {
        "top_coverage": (dims, parts[0], f"{named}, top {how.top}"),
        "unseen_mass": (dims, parts[1], named),
        "class_surprise": (dims, parts[2], named),
    }


def across_inputs(tokens: Tokens, genres: Sequence[str], vocabulary: int, how: Sampling) -> Variables:
    """n-grams that every prompt adds to those of one sample of each prompt of its genre, mean over the K such sets."""
    found = np.zeros((2, len(tokens), len(genres), len(how.lengths)), dtype=np.float32)
    for s, members in ((s, members) for s in range(len(tokens)) for members in pools(genres)):
        for column, n in enumerate(how.lengths):
            sets = [ngrams.parts([tokens[s][p][k] for p in members], n) for k in range(how.samples)]
            found[:, s, members, column] = np.mean(sets, axis=0).T
    named = f"one sample of each prompt of a genre, mean over K={how.samples}, V={vocabulary}, token n-grams"
    dims = (*CELL, "ngram")
    return {"across_distinct": (dims, found[0], named), "across_ngrams": (dims, found[1], named)}


def of_clusters(labels: np.ndarray, genres: Sequence[str], how: Sampling, encoder: str) -> Variables:
    """What the clusters of outputs say of the prompt, within its genre and among all prompts, minus chance."""
    within, overall = (np.full(labels.shape[:2], np.nan, dtype=np.float32) for _ in range(2))
    for s in range(len(labels)):
        overall[s] = corrected(labels[s], how)
        for members in pools(genres):
            within[s, members] = corrected(labels[s, members], how)
    named = (
        f"K={how.samples}, {how.clusters} k-means clusters of all stages' outputs, minus the mean of "
        f"{how.permutations} permutations; {encoder}"
    )
    return {"genre_information": (CELL, within, named), "prompt_information": (CELL, overall, named)}


def corrected(labels: np.ndarray, how: Sampling) -> np.ndarray:
    """Every prompt's part of the mutual information, minus what chance gives it."""
    chance = information.chance_parts(labels, draws=how.permutations, seed=how.seed)
    return information.information_parts(labels) - chance
