"""Behaviour as a job: experiments on what stages write, each on its own battery of prompts, into a run directory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from mcinterp.behaviour.contexts import contexts
from mcinterp.behaviour.contexts_precedent import precedent, raters
from mcinterp.behaviour.contexts_prediction import predict_gap
from mcinterp.behaviour.perturbation import perturbation
from mcinterp.behaviour.perturbation_edits import Insert, Perturbing, Swap
from mcinterp.behaviour.preference import preference_order
from mcinterp.behaviour.randomness import randomness
from mcinterp.behaviour.randomness_history import earlier_draws, with_earlier_draws
from mcinterp.behaviour.stages import stage_measures
from mcinterp.behaviour.template_effect import template_effect, template_keys
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.jobs.question import Question, Say, ask, silent
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.summary.behaviour import contexts as of_contexts
from mcinterp.summary.behaviour import perturbation as of_perturbation
from mcinterp.summary.behaviour import preference as of_preference
from mcinterp.summary.behaviour import randomness as of_randomness
from mcinterp.summary.behaviour import stages as of_stages
from mcinterp.summary.behaviour import template_effect as of_template

POCKET = "-pocket"
SHORT = Perturbing((Swap(1), Swap(2), Insert(" I am not sure.")), depths=(0.2, 0.5), steps=32, samples=1)
LONG = Perturbing(depths=(0.25, 0.5, 0.75), steps=64, samples=4)


class Experiment(NamedTuple):
    """What is measured on a chain and prompts, what is said of it, and the battery that it is made for."""

    measure: Callable[[Chain, Prompts], xr.Dataset]
    summary: Callable[[xr.Dataset], dict[str, Any]]
    battery: str


def all_contexts(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Gaps with predictions, precedents and raters in one dataset."""
    parts = [predict_gap(contexts(chain, prompts)), precedent(chain, prompts), raters(chain, prompts)]
    return xr.merge(parts, combine_attrs="override", compat="override", join="exact")


def all_draws(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Every stage's exact distribution over every support, alone and after one earlier draw."""
    return with_earlier_draws(randomness(chain, prompts), earlier_draws(chain, prompts))


def all_of_template(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Cells of the design and patched key-values in one dataset."""
    parts = [template_effect(chain, prompts), template_keys(chain, prompts)]
    return xr.merge(parts, combine_attrs="override", compat="override", join="exact")


def all_edits(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Disturbed completions of every stage; short ones where prompts are those of the pocket grammar."""
    return perturbation(chain, prompts, SHORT if prompts.source.endswith(POCKET) else LONG)


EXPERIMENTS: dict[str, Experiment] = {
    "stages": Experiment(stage_measures, of_stages.summary, "contexts"),
    "contexts": Experiment(all_contexts, of_contexts.summary, "contexts"),
    "randomness": Experiment(all_draws, of_randomness.summary, "randomness"),
    "preference": Experiment(preference_order, of_preference.summary, "preference"),
    "perturbation": Experiment(all_edits, of_perturbation.summary, "perturbation"),
    "template_effect": Experiment(all_of_template, of_template.summary, "template_effect"),
}


@dataclass(frozen=True)
class BehaveQuestion(Question):
    """What `mcinterp behave` is asked: the question, and which experiments; all of them by default.

    Every experiment has its own battery of prompts, and one drawn from their grammar for the pocket checkpoints;
    prompts that are named take their place.
    """

    battery: tuple[str, ...] = tuple(EXPERIMENTS)

    def __post_init__(self) -> None:
        unknown = [name for name in self.battery if name not in EXPERIMENTS]
        if unknown or not self.battery:
            raise InputError(f"got experiments {list(self.battery)}; give some of {', '.join(EXPERIMENTS)}.")


def behave(question: BehaveQuestion, out: str | Path, *, prompts: Prompts | None = None, say: Say = silent) -> Run:
    """Run experiments, and write `NAME.nc` of each, the summary and the report into the run directory `out`.

    Raises `InputError` for anything that does not exist, before an earlier run in the directory is replaced.
    """
    named = Prompts.named(question.prompts) if prompts is None and question.prompts else prompts
    chosen = {name: named or battery_of(name, question.stages) for name in question.battery}
    asked = ask(question, joined(list(chosen.values())), say)
    Run.at(out)
    made = {}
    for name, given in chosen.items():
        say(f"behaviour: {name}")
        made[name] = EXPERIMENTS[name].measure(asked.chain, given)
    run = asked.begin(out)
    found = {name: EXPERIMENTS[name].summary(run.save(name, dataset)) for name, dataset in made.items()}
    return asked.finish(run, behaviour=found)


def battery_of(name: str, stages: tuple[str, ...]) -> Prompts:
    """The battery of an experiment: the one of the pocket grammar where only its checkpoints are compared."""
    pocket = all("pocket:" in stage and "+" not in stage for stage in stages)
    return Prompts.battery(EXPERIMENTS[name].battery + (POCKET if pocket else ""))


def joined(batteries: list[Prompts]) -> Prompts:
    """All prompts of several batteries, each battery once."""
    by_source = {battery.source: battery for battery in batteries}
    items = tuple(prompt for battery in by_source.values() for prompt in battery.items)
    return Prompts(items, " + ".join(by_source))
