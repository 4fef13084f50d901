"""Attribution as a job: the analyses that were asked for, each into a file of the run directory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.attribution.entropy_split import entropy_split
from mcinterp.attribution.screen import attribution_patching
from mcinterp.direction.attractor import attractor_direction
from mcinterp.direction.steering import steer
from mcinterp.engines.interface import Place
from mcinterp.errors import InputError
from mcinterp.heads import head_scores
from mcinterp.jobs.job import LOCAL, Job, answer
from mcinterp.jobs.question import Asked, Question, Say, silent
from mcinterp.neurons.comparison import compare_neurons
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.run.writing import Existing
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


ANALYSES: dict[str, Callable[[Setting], xr.Dataset]] = {
    "logits": of_logits,
    "update": of_update,
    "grafts": of_grafts,
    "shapley": of_shapley,
    "entropy_split": of_entropy,
    "temperature": of_temperature,
    "screen": of_screen,
    "heads": of_heads,
    "neurons": of_neurons,
    "direction": of_direction,
}
BY_PROMPT = ("logits", "update", "grafts", "shapley", "entropy_split")
PARTS = {"logits": ("attribution", "component"), "update": ("attribution", "component")}
PARTS |= {"shapley": ("shapley", "component"), "entropy_split": ("shapley", "player")}


def attribute(
    question: AttributeQuestion,
    out: str | Path,
    *,
    prompts: Prompts | None = None,
    say: Say = silent,
    existing: Existing = "refuse",
    place: Place = LOCAL,
) -> Run:
    """Attribute a collapse to parts of the models and write the run directory `out`.

    `existing` says what becomes of an earlier run there, `place` where shards are computed. Raises `InputError` for
    anything that does not exist, before an earlier run in the directory is replaced.
    """
    return answer(
        question, out, partial(attributed, question), prompts=prompts, say=say, existing=existing, place=place
    )


def attributed(question: AttributeQuestion, job: Job) -> dict[str, Any]:
    """Every analysis that was asked for, and its entry of the summary."""
    sequences, found = job.sequences(question.read_at, question.written_by), dict[str, Any]()
    for name in question.what:
        job.say(f"attribution: {name}")
        measure = partial(analysed, question, name)
        if sharded(question, name, job, sequences):
            dataset = job.sharded(name, measure, sequences)
        else:
            dataset = job.made(name, lambda measure=measure: measure(job.asked, sequences))
        found[name] = summarised(name, dataset)
    return found


def analysed(question: AttributeQuestion, name: str, asked: Asked, sequences: Sequences) -> xr.Dataset:
    """One analysis of some sequences."""
    return ANALYSES[name](Setting(asked, question, sequences))


def sharded(question: AttributeQuestion, name: str, job: Job, sequences: Sequences) -> bool:
    """Whether an analysis takes each prompt by itself, and every shard has all positions that are read.

    `temperature` pools all prompts, `screen` and `logits` with neurons choose what is strongest over them; the rest
    compares prompts with each other.
    """
    furthest = max(question.read_at)
    reached = all(max(map(len, sequences.completions[start:stop])) >= furthest for start, stop in job.run.bounds)
    return name in BY_PROMPT and reached and not (name == "logits" and question.neurons)


def summarised(name: str, dataset: xr.Dataset) -> dict[str, Any]:
    """The figures of one analysis that are asked for first."""
    if name in PARTS:
        return parts_summary(dataset, *PARTS[name])
    return SUMMARIES[name](dataset)


SUMMARIES: dict[str, Callable[[xr.Dataset], dict[str, Any]]] = {
    "grafts": effect_summary,
    "temperature": temperature_summary,
    "screen": screen_summary,
    "heads": head_summary,
    "neurons": neuron_summary,
    "direction": dose_summary,
}
