"""Locating a collapse as a job: the whole chain from base to last stage, then step by step, into a run directory."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import xarray as xr

from mcinterp.engines.interface import Place
from mcinterp.errors import InputError
from mcinterp.jobs.job import LOCAL, Job, answer
from mcinterp.jobs.question import Asked, Question, Say, silent
from mcinterp.localisation.gate import PLACES
from mcinterp.localisation.locating import SPLIT, ends_of_chain, locate
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.run.writing import Existing
from mcinterp.summary.locate import locate_summary, step_summary


@dataclass(frozen=True)
class LocateQuestion(Question):
    """What `mcinterp locate` is asked: the question, where the collapse is read, and how the answer is verified.

    `held_out` and `controls` are prompts named as `prompts` are; `held_out` may also be `split` or `none`, and
    `controls` `auto` (those that ship with the pocket checkpoints) or `none`.
    """

    at: str = "auto"
    heads: bool = False
    positions: bool = False
    held_out: str = SPLIT
    controls: str = "auto"
    verification: bool = True

    def __post_init__(self) -> None:
        if self.at not in PLACES:
            raise InputError(f"got {self.at!r} for where a collapse is read; give one of {', '.join(PLACES)}.")


def locate_collapse(
    question: LocateQuestion,
    out: str | Path,
    *,
    prompts: Prompts | None = None,
    say: Say = silent,
    existing: Existing = "refuse",
    place: Place = LOCAL,
) -> Run:
    """Locate a collapse, verify the answer, and write the run directory `out`.

    `existing` says what becomes of an earlier run there. Raises `InputError` for anything that does not exist, before
    an earlier run in the directory is replaced.
    """
    named = {"none": None, SPLIT: SPLIT}
    held_out = named[question.held_out] if question.held_out in named else Prompts.named(question.held_out)
    controls = {"auto": None, "none": []}
    given = controls[question.controls] if question.controls in controls else Prompts.named(question.controls)

    def found_by(job: Job) -> dict[str, Any]:
        job.say("locating: gate, evidence, verification")
        chosen = {name: getattr(question, name) for name in ("at", "heads", "positions", "verification")}
        found = job.together("located", lambda: located(job.asked, held_out=held_out, controls=given, **chosen))
        return {**found, "steps": locate_steps(job, question.at)}

    return answer(question, out, found_by, prompts=prompts, say=say, existing=existing, place=place)


def located(asked: Asked, **chosen: Any) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """Every dataset that the answer rests on, and what is said of it."""
    found = locate(asked.chain, asked.rendered, attractor=asked.attractor, seed=asked.question.seed, **chosen)
    datasets = {"gate": found.gate.table}
    for name in ("sites", "evidence", "pairs", "heads", "positions", "verification"):
        dataset = getattr(found, name)
        if dataset is not None and dataset.sizes:
            datasets[name] = dataset
    return datasets, locate_summary(found)


def locate_steps(job: Job, at: str) -> list[dict[str, Any]]:
    """From each stage to the next, where there are several steps: the verdict and the first sites, not verified."""
    if len(job.chain.stages) < 3:
        return []
    return job.together("steps", lambda: ({}, each_step(job, at)))


def each_step(job: Job, at: str) -> list[dict[str, Any]]:
    """The verdict on every step."""
    entries, seed = [], job.asked.question.seed
    for earlier, later in pairwise(range(len(job.chain.stages))):
        pair = ends_of_chain(job.chain, earlier, later)
        job.say(f"locating: {pair.names[0]} to {pair.names[1]}")
        found = locate(pair, job.rendered, at=at, held_out=None, verification=False, seed=seed)
        entries.append(step_summary(pair.names, found))
    return entries
