"""The analyses that `mcinterp attribute` can be asked for: what makes each, and what is said of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import xarray as xr

from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.attribution.entropy_split import entropy_split
from mcinterp.attribution.screen import attribution_patching
from mcinterp.direction.attractor import attractor_direction
from mcinterp.direction.steering import steer
from mcinterp.errors import InputError
from mcinterp.heads import head_scores
from mcinterp.jobs.question import Asked, Question
from mcinterp.neurons.comparison import compare_neurons
from mcinterp.sequences import Sequences
from mcinterp.summary.attribution import (
    dose_summary,
    head_summary,
    neuron_summary,
    parts_summary,
    screen_summary,
    temperature_summary,
)
from mcinterp.summary.effects import effect_summary
from mcinterp.temperature import temperature_split
from mcinterp.weights.grafts import graft_sweep
from mcinterp.weights.shapley import graft_shapley
from mcinterp.weights.update import update_attribution

DEFAULT = ("logits", "update", "grafts", "entropy_split", "temperature")


@dataclass(frozen=True)
class AttributeQuestion(Question):
    """What `mcinterp attribute` is asked: the question, which analyses answer it, and how they are made."""

    what: tuple[str, ...] = DEFAULT
    by: str = "component"
    metric: str = "attractor_log_odds"
    against: str = "plausible"
    nodes: int = 8
    neurons: int = 0
    orders: int = 16
    layer: int | None = None
    read_at: tuple[int, ...] = (0,)
    written_by: str | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.what if name not in ANALYSES]
        if unknown or not self.what:
            raise InputError(f"got analyses {list(self.what)}; give some of {', '.join(ANALYSES)}.")


@dataclass(frozen=True)
class Setting:
    """What every analysis is given."""

    asked: Asked
    question: AttributeQuestion
    sequences: Sequences

    @property
    def read(self) -> dict[str, Any]:
        """Where it is read, and which token is followed."""
        return {"read_at": self.question.read_at, "attractor": self.asked.attractor}


def of_logits(one: Setting) -> xr.Dataset:
    """Direct logit attribution."""
    by = "head" if one.question.by == "head" else "component"
    options = {"by": by, "against": one.question.against, "neurons": one.question.neurons}
    return direct_logit_attribution(one.asked.chain, one.sequences, **options, **one.read)


def of_update(one: Setting) -> xr.Dataset:
    """Attribution of the fine-tuning update."""
    asked = one.question
    return update_attribution(one.asked.chain, one.sequences, asked.metric, by=asked.by, nodes=asked.nodes, **one.read)


def of_grafts(one: Setting) -> xr.Dataset:
    """Grafts of every group, both ways."""
    return graft_sweep(one.asked.chain, one.sequences, by=one.question.by, **one.read)


def of_shapley(one: Setting) -> xr.Dataset:
    """Shapley values of groups of weights."""
    asked = one.question
    options = {"by": asked.by, "orders": asked.orders, "seed": asked.seed}
    return graft_shapley(one.asked.chain, one.sequences, asked.metric, **options, **one.read)


def of_entropy(one: Setting) -> xr.Dataset:
    """The entropy drop split at the readout."""
    return entropy_split(one.asked.chain, one.sequences, **one.read)


def of_temperature(one: Setting) -> xr.Dataset:
    """Temperature, frequency and reordering, at the output and at every point that a lens reads."""
    return temperature_split(one.asked.chain, one.sequences, positions="last")


def of_screen(one: Setting) -> xr.Dataset:
    """Attribution patching with its exact top."""
    return attribution_patching(one.asked.chain, one.sequences, metric=one.question.metric, exact=12, **one.read)


def of_heads(one: Setting) -> xr.Dataset:
    """Induction, copying and attention entropy of every head."""
    return head_scores(one.asked.chain, one.sequences, seed=one.question.seed)


def of_neurons(one: Setting) -> xr.Dataset:
    """Entropy and frequency neurons of the stages, compared and patched."""
    return compare_neurons(one.asked.chain, one.sequences, attractor=one.asked.attractor, seed=one.question.seed)


def of_direction(one: Setting) -> xr.Dataset:
    """Doses of the attractor direction, taken at one layer (the middle one unless named)."""
    chain, layer = one.asked.chain, one.question.layer
    middle = chain.base.n_layers // 2 if layer is None else layer
    direction = attractor_direction(chain, one.sequences, layer=middle, attractor=one.asked.attractor)
    return steer(chain, one.sequences, direction, attractor=one.asked.attractor, seed=one.question.seed)


class Analysis(NamedTuple):
    """What makes an analysis, the figures of it that are asked for first, and whether it takes each prompt by itself.

    `temperature` pools all prompts and `screen` chooses what is strongest over them; others compare prompts.
    """

    measure: Callable[[Setting], xr.Dataset]
    summary: Callable[[xr.Dataset], dict[str, Any]]
    by_prompt: bool = False


OF_COMPONENTS = partial(parts_summary, name="attribution", along="component")
ANALYSES: dict[str, Analysis] = {
    "logits": Analysis(of_logits, OF_COMPONENTS, by_prompt=True),
    "update": Analysis(of_update, OF_COMPONENTS, by_prompt=True),
    "grafts": Analysis(of_grafts, effect_summary, by_prompt=True),
    "shapley": Analysis(of_shapley, partial(parts_summary, name="shapley", along="component"), by_prompt=True),
    "entropy_split": Analysis(of_entropy, partial(parts_summary, name="shapley", along="player"), by_prompt=True),
    "temperature": Analysis(of_temperature, temperature_summary),
    "screen": Analysis(of_screen, screen_summary),
    "heads": Analysis(of_heads, head_summary),
    "neurons": Analysis(of_neurons, neuron_summary),
    "direction": Analysis(of_direction, dose_summary),
}
