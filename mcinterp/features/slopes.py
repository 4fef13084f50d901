"""First-order effects of all features at once: (c_donor - c_recipient) * (d_f . dM/dx) at the recipient, summed."""

import numpy as np
import torch

from mcinterp.attribution.screen import slopes_of
from mcinterp.features.runs import Runs
from mcinterp.weights.scalar import scalar_named


def estimates(runs: Runs, metric: str) -> np.ndarray:
    """The expected change of a metric by each feature's patch, over prompt and feature, nats, float32.

    One backward pass a batch. The slope at `resid_mid` is that of the stream itself, through the MLP and past it.
    """
    sae, (_, scalar) = runs.sae, scalar_named(metric)
    place = (sae.site, sae.layer)
    found = np.zeros((len(runs.own), sae.n_features), dtype=np.float32)
    for batch, slopes, _, _ in slopes_of(runs.recipient, runs.donor, runs.judged, [place], scalar):
        for line, prompt in enumerate(batch.indices):
            slope = slopes[place][line].flatten(1)[runs.columns[prompt]].float().cpu()
            found[prompt] = along(runs, prompt, slope).numpy()
    return found


@torch.no_grad()
def along(runs: Runs, prompt: int, slope: torch.Tensor) -> torch.Tensor:
    """The estimates of one prompt."""
    own, other = runs.codes(prompt)
    step = other.coefficients - own.coefficients
    return (step * (slope.to(step) @ runs.sae.W_dec.T)).sum(dim=0).cpu()
