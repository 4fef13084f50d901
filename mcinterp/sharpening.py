"""Is a change of the next-token distribution only a temperature? Log-probabilities in, nats and exponents out.

`p` is the base distribution and `q` the tuned one, log-probabilities on the last axis, one pair a row. A temperature
is the family p_beta ∝ p^beta (sampling p at temperature 1 / beta); beta* is its member nearest to q in KL(q || p_beta),
the unique root of E_{p_beta}[log p] = E_q[log p], and then exactly (Csiszár 1975)

    KL(q || p) = KL(q || p_beta*) + KL(p_beta* || p).

With one more feature, p_{beta,gamma} ∝ p^beta u^gamma (u the frequency of each token), the identity nests:
KL(q || p) = temperature + frequency + reordering, none of them negative. beta* > 1 says that q leans further onto p's
likely tokens than p does, not that q is sharper: a collapse onto a token that p finds unlikely has beta* < 0 and is no
temperature, however large its temperature share.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int

from mcinterp import divergence
from mcinterp.errors import InputError
from mcinterp.tilting import CAP, Dual, Parameters, Which, dual, minimise, tilt

LogProbs = Float[torch.Tensor, "row vocabulary"]
LogFrequency = Float[torch.Tensor, "vocabulary"]
Value = Float[torch.Tensor, "row"]
Some = Float[torch.Tensor, "_ vocabulary"]
Rows = tuple[Some, Some, Int[torch.Tensor, "_"]]

LEAST_KL = 1e-6
SHIFT_CLASSES = ("unshifted", "marginal", "shifted")


@dataclass(frozen=True)
class Split:
    """KL(q || p) of every row and its three parts, in nats, with the exponents that were found.

    `beta` is beta* of the temperature alone, `beta_with_frequency` and `gamma` are the exponents of p and u together.
    Where an exponent is capped, its part is what an exponent within the cap explains; the parts still sum to `kl`.
    """

    kl: Value
    temperature: Value
    frequency: Value
    reordering: Value
    beta: Value
    beta_with_frequency: Value
    gamma: Value
    capped: Bool[torch.Tensor, "row"]
    frequency_capped: Bool[torch.Tensor, "row"]

    @property
    def share(self) -> Value:
        """The temperature share KL(p_beta* || p) / KL(q || p), in [0, 1]; missing where KL(q || p) < 1e-6."""
        return share(self.temperature, self.kl)


@dataclass(frozen=True)
class Pooled:
    """One beta for all rows of each group: KL(q || p) summed over them, and what p^beta explains of it, in nats."""

    beta: Float[torch.Tensor, "group"]
    kl: Float[torch.Tensor, "group"]
    temperature: Float[torch.Tensor, "group"]
    capped: Bool[torch.Tensor, "group"]

    @property
    def share(self) -> Float[torch.Tensor, "group"]:
        """The part of the summed KL(q || p) that the one beta explains; missing where that is below 1e-6."""
        return share(self.temperature, self.kl)


def share(part: Float[torch.Tensor, "*any"], whole: Float[torch.Tensor, "*any"]) -> Float[torch.Tensor, "*any"]:
    """part / whole, missing where the whole is below 1e-6 nats: a share of nothing is noise."""
    return torch.where(whole >= LEAST_KL, part / whole.clamp(min=LEAST_KL), torch.nan)


def split_kl(q: LogProbs, p: LogProbs, log_frequency: LogFrequency | None = None, *, cap: float = CAP) -> Split:
    """Split KL(q || p) of every row into temperature, frequency and reordering, in float64.

    Without `log_frequency` (log u plus any constant) the frequency part is zero. |beta| and |gamma| are at most `cap`.
    Raises `InputError` where p or u gives a token no probability, since no power of it is defined there for all beta.
    """
    q, p = normalised(q), normalised(positive("p", p))
    entropy, kl = divergence.entropy(q), divergence.kl_divergence(q, p).clamp(min=0.0)
    features = centred(q, p)[:, None]
    alone = tilt(features, torch.ones_like(kl)[:, None], cap=cap)
    start = torch.cat([alone.theta, torch.zeros_like(alone.theta)], dim=-1)
    both = alone._replace(theta=start)
    if log_frequency is not None:
        u = positive("the token frequency", log_frequency).to(q).expand_as(q)
        both = tilt(torch.cat([features, centred(q, u)[:, None]], dim=1), start, cap=cap)
    unexplained = nothing_below_zero(both.value - entropy, kl)
    after_temperature = torch.maximum(nothing_below_zero(alone.value - entropy, kl), unexplained)
    return Split(
        kl=kl,
        temperature=kl - after_temperature,
        frequency=after_temperature - unexplained,
        reordering=unexplained,
        beta=alone.theta[:, 0],
        beta_with_frequency=both.theta[:, 0],
        gamma=both.theta[:, 1],
        capped=alone.capped,
        frequency_capped=both.capped,
    )


def pooled_beta(parts: Iterable[Rows], groups: int, *, cap: float = CAP) -> Pooled:
    """One beta for every group of rows: the root of sum_r E_{p_r,beta}[log p_r] = sum_r E_{q_r}[log p_r].

    `parts` gives (q, p, group of each row) some rows at a time and is gone through once a Newton step, so it must be
    iterable again and again, as a list is. Groups without rows keep beta = 1. The moment condition is met to 1e-10
    on the mean over a group's rows. Raises `InputError` as `split_kl` does.
    """
    totals = pooled_totals(parts, groups)
    rows = totals.n_rows.clamp(min=1.0)

    def of_groups(theta: Parameters, which: Which) -> Dual:
        beta = torch.full((groups, 1), torch.nan, dtype=torch.float64).index_copy(0, which, theta)
        total = pooled_dual(parts, totals.means, beta)
        return Dual(*(part[which] / rows[which].reshape(-1, *[1] * (part.ndim - 1)) for part in total))

    found = minimise(of_groups, torch.ones(groups, 1, dtype=torch.float64), cap=cap)
    unexplained = nothing_below_zero(found.value * totals.n_rows - totals.entropy, totals.kl)
    return Pooled(found.theta[:, 0], totals.kl, totals.kl - unexplained, found.capped)


class Totals(NamedTuple):
    """KL(q || p), H(q) and the number of rows summed by group, and E_q[log p] of every row, part by part."""

    kl: Float[torch.Tensor, "group"]
    entropy: Float[torch.Tensor, "group"]
    n_rows: Float[torch.Tensor, "group"]
    means: list[Float[torch.Tensor, "_"]]


def pooled_totals(parts: Iterable[Rows], groups: int) -> Totals:
    """What one pass over the rows tells for good."""
    totals = Totals(*torch.zeros(3, groups, dtype=torch.float64), means=[])
    for q, p, group in parts:
        q, group = normalised(q), group.cpu()
        totals.kl.index_add_(0, group, divergence.kl_divergence(q, normalised(positive("p", p))).clamp(min=0.0).cpu())
        totals.entropy.index_add_(0, group, divergence.entropy(q).cpu())
        totals.n_rows.index_add_(0, group, torch.ones_like(group, dtype=torch.float64))
        totals.means.append(divergence.expectation(q, p.double()))
    return totals


def pooled_dual(parts: Iterable[Rows], means: list[Float[torch.Tensor, "_"]], beta: Parameters) -> Dual:
    """The sum of the rows' duals by group, for the groups that have a beta."""
    total = Dual(*(torch.zeros(len(beta), *[1] * extra, dtype=torch.float64) for extra in (0, 1, 2)))
    for (_, p, group), mean in zip(parts, means, strict=True):
        own = beta.to(p.device)[group]
        open_ = ~own[:, 0].isnan()
        if bool(open_.any()):
            each = dual((p[open_].double() - mean[open_, None])[:, None], own[open_])
            for whole, rows in zip(total, each, strict=True):
                whole.index_add_(0, group[open_].cpu(), rows.cpu())
    return total


def centred(q: LogProbs, values: LogProbs) -> LogProbs:
    """Values minus their mean under q."""
    return values - divergence.expectation(q, values)[:, None]


def normalised(log_probs: LogProbs) -> LogProbs:
    """Log-probabilities in float64, summing to one to its precision (float32 ones do so to about 1e-7)."""
    return log_probs.double().log_softmax(dim=-1)


def nothing_below_zero(part: Float[torch.Tensor, "*any"], whole: Float[torch.Tensor, "*any"]) -> torch.Tensor:
    """A part between zero and its whole, whatever rounding did; infinite where the whole is."""
    return torch.minimum(part.clamp(min=0.0), whole)


def positive(what: str, log_probs: Float[torch.Tensor, "*any"]) -> Float[torch.Tensor, "*any"]:
    """Log-probabilities, refused where one is not finite."""
    if not bool(log_probs.isfinite().all()):
        raise InputError(
            f"{what} has log-probabilities that are not finite (as of a token of probability zero); "
            f"give a distribution with some mass on every token, such as a softmax."
        )
    return log_probs


def shift_class(rank: Int[torch.Tensor, "*any"]) -> Int[torch.Tensor, "*any"]:
    """Index into `SHIFT_CLASSES` by the rank of the tuned model's greedy token under the base on the same prefix.

    Rank 1 is unshifted, 2 and 3 are marginal, all else is shifted (URIAL: Lin et al. 2023, arXiv 2312.01552).
    """
    return (rank > 1).int() + (rank > 3).int()


def kendall_tau(q: LogProbs, p: LogProbs, k: int) -> Value:
    """Kendall's tau-a of the two orders of p's k most likely tokens: concordant minus discordant pairs over all pairs.

    In [-1, 1], no unit; a pair that either distribution ties counts zero; missing where k < 2.
    """
    top = p.topk(min(k, p.shape[-1]), dim=-1)
    left, right = top.values, q.gather(-1, top.indices)
    first, second = torch.triu_indices(left.shape[-1], left.shape[-1], offset=1, device=p.device)
    agree = (left[:, first] - left[:, second]).sign() * (right[:, first] - right[:, second]).sign()
    return agree.mean(dim=-1)


def top_k_jaccard(q: LogProbs, p: LogProbs, k: int) -> Value:
    """Shared tokens over all tokens of the two sets of k most likely ones; symmetric, in [0, 1], no unit."""
    size = min(k, p.shape[-1])
    left, right = q.topk(size, dim=-1).indices, p.topk(size, dim=-1).indices
    shared = (left[:, :, None] == right[:, None]).sum(dim=(1, 2))
    return shared / (2 * size - shared)
