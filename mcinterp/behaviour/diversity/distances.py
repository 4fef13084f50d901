"""Distances of a stage's outputs from the base's: MAUVE, the frontier integral and the Fréchet distance.

All three follow from means over prompts: shares of clusters, means and second moments of features. The even samples of
a stage are compared with the odd samples of the base, so that the base's own row is what equal models would give (the
noise floor), and the random numbers that stages share do not make them look alike.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float

from mcinterp.diversity.frechet import frechet_distance
from mcinterp.diversity.frontier import frontier_integral, mauve
from mcinterp.diversity.information import histograms

DISTANCES = ("frechet_distance", "mauve", "frontier_integral")
Pieces = Float[np.ndarray, "prompt side stage piece"]


def pieces_of(dataset: xr.Dataset) -> tuple[Pieces, int, int]:
    """The pieces of a result of `diversity`, and its numbers of clusters and of components."""
    cells = ("stage", "prompt", "sample")
    cluster = dataset["output_cluster"].transpose(*cells).values
    component = dataset["output_component"].transpose(*cells, "component").values.astype(float)
    n_clusters = int(cluster.max(initial=0)) + 1
    return pieces(cluster, component, n_clusters), n_clusters, component.shape[-1]


def pieces(labels: np.ndarray, features: np.ndarray, n_clusters: int) -> Pieces:
    """Shares of clusters, means and second moments of every prompt's even and odd samples, side by side.

    Labels are over stage, prompt and sample, features over `component` too; both missing where nothing was written.
    """
    sides = [
        np.stack([of_prompts(labels[s, :, start::2], features[s, :, start::2], n_clusters) for s in range(len(labels))])
        for start in (0, 1)
    ]
    return np.stack(sides).transpose(2, 0, 1, 3)


def of_prompts(labels: np.ndarray, features: np.ndarray, n_clusters: int) -> Float[np.ndarray, "prompt piece"]:
    """Everything that is needed of one stage's half of the samples; missing where a prompt has none."""
    there = labels >= 0
    counts = there.sum(axis=1)[:, None]
    weights = np.divide(there, counts, out=np.full(there.shape, np.nan), where=counts > 0)
    values = np.where(there[..., None], features, 0.0)
    mean = np.einsum("ps,psf->pf", weights, values)
    second = np.einsum("ps,psf,psg->pfg", weights, values, values)
    return np.concatenate([histograms(labels, n_clusters), mean, second.reshape(len(mean), -1)], axis=1)


def distances(
    means: Float[np.ndarray, "side stage piece"], n_clusters: int, n_components: int
) -> Float[np.ndarray, "distance stage"]:
    """The three distances of every stage from the base, from the means of the pieces over prompts."""
    ends = (n_clusters, n_clusters + n_components)
    shares, mean, second = means[..., : ends[0]], means[..., ends[0] : ends[1]], means[..., ends[1] :]
    spread = second.reshape(*means.shape[:2], n_components, n_components) - mean[..., :, None] * mean[..., None, :]
    found = np.full((len(DISTANCES), means.shape[1]), np.nan)
    for stage in range(means.shape[1]):
        if np.isfinite(means[0, stage]).all() and np.isfinite(means[1, 0]).all():
            pair = shares[0, stage], shares[1, 0]
            gaussians = mean[0, stage], spread[0, stage], mean[1, 0], spread[1, 0]
            found[:, stage] = frechet_distance(*gaussians), mauve(*pair), frontier_integral(*pair)
    return found
