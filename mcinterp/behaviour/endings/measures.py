"""How spread outcomes are, how much a beginning says of them, and what is left of the rare ones: arrays in, values out.

Counts are numbers of texts by outcome; where a tree gave exact probabilities they stand in the same place.
"""

import numpy as np
from jaxtyping import Bool, Float

Counts = Float[np.ndarray, "*batch outcome"]
Value = Float[np.ndarray, "*batch"]
RARE = 0.1


def shares(counts: Counts) -> Counts:
    """Counts over their sum; missing where nothing was counted."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def entropy(counts: Counts, exact: Bool[np.ndarray, "*batch"] | None = None) -> Value:
    """Entropy of outcomes in nats: plug-in plus (outcomes seen - 1) / 2n of Miller and Madow (1955).

    So n texts of one outcome have 0. Where `exact` nothing is added. Missing where nothing was counted.
    """
    p, total = shares(counts), counts.sum(axis=-1)
    plain = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)
    seen = (counts > 0).sum(axis=-1)
    added = np.divide(seen - 1.0, 2.0 * total, out=np.zeros(np.shape(total)), where=total > 0)
    return np.asarray(plain + (added if exact is None else np.where(exact, 0.0, added)))


def collision(counts: Counts, exact: Bool[np.ndarray, "*batch"] | None = None) -> Value:
    """Probability that two texts have the same outcome, sum n (n - 1) / N (N - 1): without bias; missing below two.

    Where `exact`, sum p^2.
    """
    total = counts.sum(axis=-1)
    pairs = np.where(total > 1, total * (total - 1.0), np.nan)
    sampled = (counts * (counts - 1.0)).sum(axis=-1) / pairs
    return np.asarray(sampled if exact is None else np.where(exact, (shares(counts) ** 2).sum(axis=-1), sampled))


def information(entropies: Float[np.ndarray, "*batch branch"]) -> Float[np.ndarray, "*batch branch"]:
    """What beginnings say of the outcome, in nats: the entropy at the first branch minus that behind each.

    The mean over stories that a stage wrote itself is the mutual information I(beginning; outcome | prompt) =
    H(outcome | prompt) - H(outcome | beginning), whatever the number of stories. One story may lose entropy or gain
    it. Entropies of equally many texts have equal bias where a beginning says nothing, so that the mean is 0 there.
    """
    return entropies[..., :1] - entropies


def rare_seen(
    stages: Float[np.ndarray, "stage prompt outcome"], base: Float[np.ndarray, "prompt outcome"], most: float = RARE
) -> Float[np.ndarray, "stage prompt"]:
    """How many different outcomes a prompt's texts have that the base gives to `most` or fewer of the others' texts.

    Which outcomes are rare is read on the base's texts of all other prompts, so that they are not chosen by the same
    chance that they are counted with: a stage that equals the base has as many. Outcomes that the base never came to
    elsewhere are not counted; one that a stage comes to always counts once. Missing for a prompt alone.
    """
    there = ~np.isnan(base)
    filled = np.where(there, base, 0.0)
    others = there.sum(axis=0) - there
    mean = np.divide(filled.sum(axis=0) - filled, others, out=np.full(base.shape, np.nan), where=others > 0)
    rare = (mean > 0) & (mean <= most)
    found = (rare & (stages > 0)).sum(axis=-1).astype(float)
    return np.where(np.isnan(mean).all(axis=-1), np.nan, found)


def vanished(base: Counts, stage: Counts, level: float = 0.01) -> Bool[np.ndarray, "*batch outcome"]:
    """Which outcomes of the base no text of a stage has, though chance would leave them out with `level` or less.

    That chance is (1 - p)^n, with p the base's share and n the stage's texts, over the number of the base's outcomes
    (Bonferroni).
    """
    p, n = shares(base), stage.sum(axis=-1, keepdims=True)
    tried = np.maximum((base > 0).sum(axis=-1, keepdims=True), 1)
    return (stage == 0) & (base > 0) & ((1.0 - np.nan_to_num(p)) ** n <= level / tried)
