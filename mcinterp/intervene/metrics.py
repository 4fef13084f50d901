"""What is read off the final-position distribution of a patched run, many quantities at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int

from mcinterp import divergence
from mcinterp.errors import InputError

LogProbs = Float[torch.Tensor, "row vocabulary"]
Value = Float[torch.Tensor, "row"]


@dataclass(frozen=True)
class Reading:
    """The next-token distributions of some runs, each beside the unpatched ends it lies between.

    All are log-probabilities in float32. `attractor` is the followed token of each row, `rivals` the base-plausible
    tokens without it (those that `belongs` marks).
    """

    log_probs: LogProbs
    donor: LogProbs
    recipient: LogProbs
    attractor: Int[torch.Tensor, "row"]
    rivals: Int[torch.Tensor, "row candidate"]
    belongs: Bool[torch.Tensor, "row candidate"]

    @cached_property
    def probabilities(self) -> LogProbs:
        """Probabilities of the runs."""
        return self.log_probs.exp()

    def expectation(self, values: LogProbs) -> Value:
        """Mean of values under the runs' distributions; a token of probability zero counts nothing."""
        total = (self.probabilities * values).sum(dim=-1, dtype=torch.float64)
        if not bool(total.isnan().any()):
            return total
        return divergence.expectation(self.log_probs, values)


Metric = Callable[[Reading], torch.Tensor]

METRICS: dict[str, Metric] = {
    "entropy": lambda r: -r.expectation(r.log_probs),
    "attractor_log_prob": lambda r: divergence.token_log_prob(r.log_probs, r.attractor),
    "attractor_log_odds": lambda r: divergence.log_odds(r.log_probs, r.attractor, r.rivals, r.belongs),
    "kl_to_donor": lambda r: r.expectation(r.log_probs - r.donor),
    "kl_to_recipient": lambda r: r.expectation(r.log_probs - r.recipient),
    "top_token": lambda r: r.log_probs.argmax(dim=-1),
}
OF_ONE_RUN = ("entropy", "attractor_log_prob", "attractor_log_odds")
IDS = ("top_token",)


def chosen_metrics(metrics: Sequence[str] | Mapping[str, Metric] | None) -> dict[str, Metric]:
    """Metrics by name: all built-in ones for None, some of them by name, or the caller's own functions of a `Reading`.

    Raises `InputError` for an unknown name, and for a function under the name of a built-in metric.
    """
    if metrics is None:
        return dict(METRICS)
    if isinstance(metrics, Mapping):
        taken = [name for name in metrics if name in METRICS]
        if taken:
            raise InputError(f"metric {taken[0]!r} is a built-in one; give a function of your own another name.")
        return dict(metrics)
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InputError(f"metric {unknown[0]!r} is unknown; give some of {', '.join(METRICS)}, or a function by name.")
    return {name: METRICS[name] for name in metrics}


def evaluate(metrics: Mapping[str, Metric], reading: Reading) -> dict[str, torch.Tensor]:
    """Every metric of a reading: one value a row.

    Raises `InputError` where a caller's function gives anything else.
    """
    values = {}
    for name, metric in metrics.items():
        value = torch.as_tensor(metric(reading))
        if value.shape != reading.attractor.shape:
            raise InputError(
                f"metric {name!r} gave an array of shape {tuple(value.shape)} for {len(reading.attractor)} rows; "
                f"let it give one value a row."
            )
        values[name] = value.double().cpu()
    return values
