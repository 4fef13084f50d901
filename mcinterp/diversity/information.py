"""How much outputs say of the prompt: nothing where one attractor serves all, much where each has its own basin."""

import numpy as np
from jaxtyping import Float, Int

Labels = Int[np.ndarray, "prompt sample"]
Histograms = Float[np.ndarray, "prompt cluster"]


def histograms(labels: Labels, n_clusters: int) -> Histograms:
    """The share of each prompt's samples in every cluster; negative labels are missing, and so is a prompt of those."""
    counts = np.stack([np.bincount(row[row >= 0], minlength=n_clusters) for row in labels]).astype(float)
    whole = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, whole, out=np.full(counts.shape, np.nan), where=whole > 0)


def information_parts(labels: Labels) -> Float[np.ndarray, "prompt"]:
    """KL(clusters of a prompt || clusters of all prompts), in nats, of every prompt.

    With as many samples of every prompt, the mean is the mutual information I(prompt; cluster) of the samples.
    """
    shares = histograms(labels, max(int(labels.max(initial=-1)) + 1, 1))
    whole = np.nanmean(shares, axis=0) if np.isfinite(shares).any() else shares[0]
    ratio = np.divide(shares, whole, out=np.ones_like(shares), where=(shares > 0) & (whole > 0))
    return (shares * np.log(ratio)).sum(axis=1)


def chance_parts(labels: Labels, *, draws: int = 100, seed: int = 0) -> Float[np.ndarray, "prompt"]:
    """The same with the outputs dealt out to prompts at random, mean over `draws`: what few samples alone show."""
    random = np.random.default_rng(seed)
    there = labels >= 0
    total = np.zeros(len(labels))
    for _ in range(draws):
        dealt = labels.copy()
        dealt[there] = random.permutation(labels[there])
        total += information_parts(dealt)
    return total / draws


def mutual_information(labels: Labels, *, draws: int = 100, seed: int = 0) -> float:
    """I(prompt; cluster) in nats with its mean under permutation subtracted; about 0 where prompts do not matter."""
    return float(np.nanmean(information_parts(labels) - chance_parts(labels, draws=draws, seed=seed)))
