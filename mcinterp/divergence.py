"""Entropies, divergences and ranks of next-token distributions: log-probabilities in, nats out.

Every function takes log-probabilities over the vocabulary on the last axis (`log_softmax` of logits, float32 or
float64) and reduces that axis. Zero probabilities (`-inf`) contribute zero to any expectation. `p` is the base
distribution, `q` the tuned one, wherever both appear.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int

LogProbs = Float[torch.Tensor, "*batch vocabulary"]
Value = Float[torch.Tensor, "*batch"]


def log_probs(logits: Float[torch.Tensor, "*batch vocabulary"]) -> LogProbs:
    """Log-probabilities of logits by a full softmax, in float32 unless the logits are float64."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.log_softmax(dim=-1)


def expectation(log_weights: LogProbs, values: LogProbs) -> Value:
    """Sum of exp(log_weights) * values, where a weight of zero contributes zero whatever the value."""
    weights = log_weights.exp()
    total = (weights * values).sum(dim=-1)
    if not bool(total.isnan().any()):
        return total
    return torch.where(weights == 0, torch.zeros_like(values), weights * values).sum(dim=-1)


def entropy(q: LogProbs) -> Value:
    """Shannon entropy H(q) = -sum q log q, in nats; between 0 and log V."""
    return -expectation(q, q)


def effective_choices(q: LogProbs) -> Value:
    """exp(H(q)): the number of equally likely tokens with the same entropy; between 1 and V."""
    return entropy(q).exp()


def min_entropy(q: LogProbs) -> Value:
    """-log max q, in nats: the surprise of the most likely token; at most H(q)."""
    return -q.max(dim=-1).values


def kl_divergence(q: LogProbs, p: LogProbs) -> Value:
    """KL(q || p) = sum q (log q - log p), in nats; not symmetric, infinite where p misses mass of q."""
    return expectation(q, q - p)


def js_divergence(q: LogProbs, p: LogProbs) -> Value:
    """Jensen-Shannon divergence: mean KL of q and p to their mixture, in nats; symmetric, in [0, log 2] (Lin 1991)."""
    mixture = torch.logaddexp(q, p) - torch.log(torch.tensor(2.0, dtype=q.dtype, device=q.device))
    return (kl_divergence(q, mixture) + kl_divergence(p, mixture)) / 2


def total_variation(q: LogProbs, p: LogProbs) -> Value:
    """Total variation distance, half the sum of |q - p|; symmetric, in [0, 1], no unit."""
    return (q.exp() - p.exp()).abs().sum(dim=-1) / 2


def token_rank(q: LogProbs, token: Int[torch.Tensor, "*batch"]) -> Int[torch.Tensor, "*batch"]:
    """Rank of a token under q: 1 is the most likely; ties share the best rank."""
    own = q.gather(-1, token.unsqueeze(-1))
    return (q > own).sum(dim=-1) + 1


def token_log_prob(q: LogProbs, token: Int[torch.Tensor, "*batch"]) -> Value:
    """log q(token), in nats."""
    return q.gather(-1, token.unsqueeze(-1)).squeeze(-1)


def plausible_set(
    p: LogProbs, without: Int[torch.Tensor, "*batch"], *, mass: float = 0.9, at_most: int = 256
) -> tuple[Int[torch.Tensor, "*batch candidate"], Bool[torch.Tensor, "*batch candidate"]]:
    """The smallest set of base tokens that holds `mass` of p once the token `without` is left out.

    Returns token ids, most likely first, and the mask of those that belong to the set; never empty, at most
    `at_most` tokens. The mass is that of the remaining tokens, so the set does not depend on how much of p the
    left-out token had.
    """
    others = p.scatter(-1, without.unsqueeze(-1), -torch.inf).log_softmax(dim=-1)
    top = others.topk(min(at_most, others.shape[-1] - 1), dim=-1)
    before = top.values.exp().cumsum(dim=-1) - top.values.exp()
    return top.indices, before < mass


class Followed(NamedTuple):
    """The followed token of each row, and its rivals: the base's plausible tokens, and which of the listed belong."""

    attractor: Int[torch.Tensor, "*batch"]
    rivals: Int[torch.Tensor, "*batch candidate"]
    belongs: Bool[torch.Tensor, "*batch candidate"]


def followed_token(q: LogProbs, token: int | None) -> Int[torch.Tensor, "*batch"]:
    """The most likely token under q, or the one that is named, everywhere."""
    likely = q.argmax(dim=-1)
    return likely if token is None else torch.full_like(likely, token)


def followed(p: LogProbs, q: LogProbs, token: int | None) -> Followed:
    """What is followed of q (its most likely token unless one is named) with its rivals under p; on p's device."""
    chosen = followed_token(q, token).to(p.device)
    return Followed(chosen, *plausible_set(p, chosen))


def log_odds(
    q: LogProbs,
    token: Int[torch.Tensor, "*batch"],
    against: Int[torch.Tensor, "*batch candidate"],
    belongs: Bool[torch.Tensor, "*batch candidate"],
) -> Value:
    """Log-odds of a token against a set: log q(token) - log sum q(set), in nats; equal for logits and log-probs."""
    rivals = q.gather(-1, against).masked_fill(~belongs, -torch.inf)
    return token_log_prob(q, token) - rivals.logsumexp(dim=-1)
