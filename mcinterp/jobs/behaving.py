"""Behaviour as a job: experiments on what stages write, each on its own battery of prompts, into a run directory."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from mcinterp.behaviour import stages
from mcinterp.behaviour.canned import experiment as canned
from mcinterp.behaviour.contexts import experiment as contexts
from mcinterp.behaviour.diversity import experiment as diversity
from mcinterp.behaviour.endings import experiment as endings
from mcinterp.behaviour.multiverse import experiment as multiverse
from mcinterp.behaviour.over_optimisation import experiment as over_optimisation
from mcinterp.behaviour.perturbation import experiment as perturbation
from mcinterp.behaviour.planning import experiment as planning
from mcinterp.behaviour.preference import order
from mcinterp.behaviour.randomness import experiment as randomness
from mcinterp.behaviour.strings import experiment as strings
from mcinterp.behaviour.temperature_curves import experiment as temperature_curves
from mcinterp.behaviour.template_effect import experiment as template_effect
from mcinterp.chain import Chain
from mcinterp.engines.interface import Place
from mcinterp.errors import InputError
from mcinterp.jobs.job import LOCAL, Job, answer
from mcinterp.jobs.question import Question, Say, fitting, silent
from mcinterp.prompts import Prompts
from mcinterp.results import Unwritable
from mcinterp.run import Run
from mcinterp.run.writing import Existing
from mcinterp.summary import behaviour as summaries

POCKET = "-pocket"
Measure = Callable[[Chain, Prompts], xr.Dataset]


class Experiment(NamedTuple):
    """What is measured on a chain and prompts, the battery that it is made for, and what the pocket chain takes.

    What is said of it (`summary`, `headline`) and its picture lie under its name in `mcinterp.summary.behaviour` and
    `mcinterp.show.behaviour`.
    """

    measure: Measure
    battery: str
    on_pocket: Measure | None = None


EXPERIMENTS: dict[str, Experiment] = {
    "stages": Experiment(stages.stage_measures, "contexts"),
    "canned": Experiment(canned.experiment, "canned", canned.on_pocket),
    "randomness": Experiment(randomness.experiment, "randomness"),
    "multiverse": Experiment(multiverse.experiment, "multiverse"),
    "temperature_curves": Experiment(temperature_curves.experiment, "perturbation", temperature_curves.on_pocket),
    "preference": Experiment(order.preference_order, "preference"),
    "perturbation": Experiment(perturbation.experiment, "perturbation", perturbation.on_pocket),
    "contexts": Experiment(contexts.experiment, "contexts"),
    "endings": Experiment(endings.experiment, "endings", endings.on_pocket),
    "over_optimisation": Experiment(over_optimisation.experiment, "over_optimisation", over_optimisation.on_pocket),
    "diversity": Experiment(diversity.experiment, "diversity", diversity.on_pocket),
    "template_effect": Experiment(template_effect.experiment, "template_effect"),
    "planning": Experiment(planning.experiment, "planning", planning.on_pocket),
    "strings": Experiment(strings.experiment, "strings", strings.on_pocket),
}


@dataclass(frozen=True)
class BehaveQuestion(Question):
    """What `mcinterp behave` is asked: the question, and which experiments; all of them by default.

    Every experiment has its own battery of prompts, and one drawn from their grammar for the pocket checkpoints, of
    which it takes those that the context holds; prompts that are named take their place, and must all fit.
    """

    battery: tuple[str, ...] = tuple(EXPERIMENTS)

    def __post_init__(self) -> None:
        unknown = [name for name in self.battery if name not in EXPERIMENTS]
        if unknown or not self.battery:
            raise InputError(f"got experiments {list(self.battery)}; give some of {', '.join(EXPERIMENTS)}.")


def behave(
    question: BehaveQuestion,
    out: str | Path,
    *,
    prompts: Prompts | None = None,
    say: Say = silent,
    existing: Existing = "refuse",
    place: Place = LOCAL,
) -> Run:
    """Run experiments, and write `NAME.nc` of each as it is made, then summary and report, into the directory `out`.

    An experiment that cannot be made of these checkpoints and prompts is left out, and the summary says why under
    `refused`. `existing` says what becomes of an earlier run there. Raises `InputError` for anything that does not
    exist, and where no experiment can be made, before an earlier run in the directory is replaced.
    """
    named = Prompts.named(question.prompts) if prompts is None and question.prompts else prompts
    whole = {name: named or battery_of(name, question.stages) for name in question.battery}
    chosen: dict[str, Prompts] = {}

    def fit(chain: Chain) -> Prompts:
        chosen.update(whole if named else {name: fitting(each, chain) for name, each in whole.items()})
        return joined(list(chosen.values()))

    return answer(question, out, partial(behaved, chosen), prompts=fit, say=say, existing=existing, place=place)


def behaved(chosen: dict[str, Prompts], job: Job) -> dict[str, Any]:
    """Every experiment that can be made, and its entry of the summary."""
    found, refused = dict[str, Any](), dict[str, str]()
    for name, given in chosen.items():
        job.say(f"behaviour: {name}")
        try:
            dataset = job.made(name, partial(measured, name, job.chain, given))
        except Unwritable:
            raise
        except InputError as error:
            refused[name] = str(error)
            job.say(f"without {name}: {error}")
            continue
        found[name] = summaries.of(name).summary(dataset)
    if not found:
        raise InputError(" ".join(dict.fromkeys(refused.values())))
    return {"behaviour": found, **({"refused": refused} if refused else {})}


def measured(name: str, chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The dataset of an experiment, in the measure made for the pocket grammar where prompts are the grammar's."""
    experiment = EXPERIMENTS[name]
    pocket = experiment.on_pocket if prompts.source.endswith(POCKET) else None
    return (pocket or experiment.measure)(chain, prompts)


def battery_of(name: str, stages: tuple[str, ...]) -> Prompts:
    """The battery of an experiment: the one of the pocket grammar where only its checkpoints are compared."""
    pocket = all("pocket:" in stage and "+" not in stage for stage in stages)
    return Prompts.battery(EXPERIMENTS[name].battery + (POCKET if pocket else ""))


def joined(batteries: list[Prompts]) -> Prompts:
    """All prompts of several batteries, each battery once."""
    by_source = {battery.source: battery for battery in batteries}
    items = tuple(prompt for battery in by_source.values() for prompt in battery.items)
    return Prompts(items, " + ".join(by_source))
