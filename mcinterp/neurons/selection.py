"""Which neurons count as entropy or frequency neurons: rules on the statistics of their weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import comb

import numpy as np
import xarray as xr

from mcinterp.errors import InputError

NeuronSet = dict[int, tuple[int, ...]]
LOW_VARIANCE = 0.5


def entropy_neurons(statistics: xr.Dataset, count: int, *, low_variance: float = LOW_VARIANCE) -> dict[str, NeuronSet]:
    """The entropy neurons of every stage: the `count` neurons that write most into unread directions.

    Rule: among the neurons whose `logit_variance` is in the lower `low_variance` of all described neurons of the stage,
    those with the largest `output_norm` x `null_fraction` (the length written into unread directions). Stolfo et al.
    (2024) choose by high norm and low LogitVar by eye; this makes it a rule.
    """
    score = statistics["output_norm"] * statistics["null_fraction"]
    limit = statistics["logit_variance"].quantile(low_variance, dim=("layer", "neuron"))
    return largest(score.where(statistics["logit_variance"] <= limit), count)


def frequency_neurons(statistics: xr.Dataset, count: int) -> dict[str, NeuronSet]:
    """The token-frequency neurons of every stage: the `count` largest |`frequency_alignment`| x `output_norm`.

    Either sign counts: a neuron may push towards frequent tokens or away from them. Raises `InputError` for statistics
    made without a unigram.
    """
    if bool(statistics["frequency_alignment"].isnull().all()):
        raise InputError("the statistics were made without a unigram; give neuron_statistics prompts or counts.")
    return largest(abs(statistics["frequency_alignment"]) * statistics["output_norm"], count)


RULES: dict[str, Callable[[xr.Dataset, int], dict[str, NeuronSet]]] = {
    "entropy": entropy_neurons,
    "frequency": frequency_neurons,
}


def largest(score: xr.DataArray, count: int) -> dict[str, NeuronSet]:
    """The `count` largest of a score in every stage, by layer, best first; missing scores are never chosen."""
    there = int(score.notnull().sum(("layer", "neuron")).min())
    if not 0 < count <= there:
        raise InputError(f"{count} neurons were asked for and {there} qualify; give a number from 1 to {there}.")
    found = {}
    for stage in score["stage"].values.tolist():
        values = score.sel(stage=stage).transpose("layer", "neuron").values
        order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, values.shape)
        found[stage] = by_layer(
            zip(score["layer"].values[rows].tolist(), score["neuron"].values[columns].tolist(), strict=True)
        )
    return found


def by_layer(pairs: Iterable[tuple[int, int]]) -> NeuronSet:
    """(layer, neuron) pairs as the neurons of each layer."""
    found: dict[int, tuple[int, ...]] = {}
    for layer, neuron in pairs:
        found[int(layer)] = (*found.get(int(layer), ()), int(neuron))
    return dict(sorted(found.items()))


def pairs_of(neurons: Mapping[int, Sequence[int]]) -> list[tuple[int, int]]:
    """The neurons of each layer as (layer, neuron) pairs."""
    return [(int(layer), int(neuron)) for layer, each in neurons.items() for neuron in each]


def joined(*sets: Mapping[int, Sequence[int]]) -> NeuronSet:
    """The union of sets of neurons, in the order of the sets."""
    return by_layer(dict.fromkeys(pair for each in sets for pair in pairs_of(each)))


def jaccard(left: NeuronSet, right: NeuronSet) -> float:
    """|both| / |either| of two sets of neurons; 1 for equal sets."""
    one, other = set(pairs_of(left)), set(pairs_of(right))
    return len(one & other) / len(one | other)


def jaccard_by_chance(count: int, among: int) -> float:
    """The mean Jaccard index of two random sets of `count` out of `among` (overlap is hypergeometric)."""
    overlaps = range(max(0, 2 * count - among), count + 1)
    ways = [comb(count, j) * comb(among - count, count - j) for j in overlaps]
    return sum(way * j / (2 * count - j) for way, j in zip(ways, overlaps, strict=True)) / comb(among, count)


def matched_neurons(norms: xr.DataArray, chosen: NeuronSet, *, nearest: int, seed: Sequence[int]) -> NeuronSet:
    """Random neurons of about the same norm: for each chosen one, another of its layer that was not chosen.

    In random order each takes one of the `nearest` neurons closest in norm that are still free (without replacement).
    `norms` is over `layer, neuron`. Raises `InputError` where a layer has too few neurons.
    """
    random, pairs = np.random.default_rng(list(seed)), pairs_of(chosen)
    taken, found = set(pairs), []
    for layer, neuron in (pairs[i] for i in random.permutation(len(pairs))):
        values = norms.sel(layer=layer).values
        order = np.argsort(np.abs(values - values[neuron]), kind="stable").tolist()
        free = [other for other in order if (layer, other) not in taken][:nearest]
        if not free:
            raise InputError(
                f"layer {layer} has {len(values)} neurons, too few for another of equal norm for each of the "
                f"{len(chosen[layer])} chosen; choose fewer."
            )
        found.append((layer, int(random.choice(free))))
        taken.add(found[-1])
    return by_layer(found)
