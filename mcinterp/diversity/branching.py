"""The branching factor: how many next tokens a model has to choose from, on average (Yang and Holtzman 2025)."""

import numpy as np
import torch
from jaxtyping import Float

from mcinterp.divergence import LogProbs

Steps = Float[np.ndarray, "sample step"]
ASYMPTOTIC = 50
TOP_P = 0.9
FIRST = 256


def nucleus(log_probs: LogProbs, top_p: float = TOP_P) -> LogProbs:
    """The distribution on the fewest tokens that hold `top_p` of the mass, renormalised; -inf elsewhere.

    Holtzman et al. (2020). Never empty; of equally likely tokens any may be left out. All tokens are put in order only
    where the likeliest `FIRST` do not hold enough.
    """
    ordered, index = log_probs.topk(min(FIRST, log_probs.shape[-1]), dim=-1)
    mass = ordered.double().exp()
    if bool((mass.sum(dim=-1) < top_p).any()):
        ordered, index = log_probs.sort(dim=-1, descending=True)
        mass = ordered.double().exp()
    kept = mass.cumsum(dim=-1) - mass < top_p
    cut = ordered.masked_fill(~kept, -torch.inf).log_softmax(dim=-1)
    return torch.full_like(log_probs, -torch.inf).scatter(-1, index, cut)


def entropy_rate(entropies: Steps, log_probs: Steps, *, asymptotic: int = ASYMPTOTIC) -> float:
    """Entropy a token of what is sampled, H(Y_1..N) / N, in nats; missing where nothing was written.

    The mean over all tokens of the samples of the entropy of what each was drawn from (chain rule). Where a sample is
    longer than `asymptotic` tokens it is -log p a token instead, which by then has converged and varies less. Both
    are missing (NaN) behind the end of a sample, which is left out itself. The released code takes the mean at each
    position first, which is the same for samples of one length.
    """
    present = ~np.isnan(entropies)
    if not present.any():
        return float("nan")
    if present.sum(axis=1).max() > asymptotic:
        return float(-log_probs[present].mean())
    return float(entropies[present].mean())


def branching_factor(entropies: Steps, log_probs: Steps, *, asymptotic: int = ASYMPTOTIC) -> float:
    """exp of the entropy rate: equally likely tokens to choose from, 1 or more.

    Samples and entropies must be of one distribution: the nucleus of top-p 0.9 renormalised, as published, or the
    full vocabulary, which is another measure. A figure over prompts is the mean of their branching factors.
    """
    return float(np.exp(entropy_rate(entropies, log_probs, asymptotic=asymptotic)))
