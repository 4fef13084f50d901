"""Attribution as a job: the analyses that were asked for, each into a file of the run directory."""

from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from mcinterp.engines.interface import Place
from mcinterp.jobs.analyses import ANALYSES, AttributeQuestion, Setting
from mcinterp.jobs.job import LOCAL, Job, answer
from mcinterp.jobs.question import Asked, Say, silent
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.run.writing import Existing
from mcinterp.sequences import Sequences


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
        found[name] = ANALYSES[name].summary(dataset)
    return found


def analysed(question: AttributeQuestion, name: str, asked: Asked, sequences: Sequences) -> xr.Dataset:
    """One analysis of some sequences."""
    return ANALYSES[name].measure(Setting(asked, question, sequences))


def sharded(question: AttributeQuestion, name: str, job: Job, sequences: Sequences) -> bool:
    """Whether an analysis takes each prompt by itself, and every shard has all positions that are read.

    `logits` with neurons choose what is strongest over all prompts.
    """
    chosen = name == "logits" and bool(question.neurons)
    return ANALYSES[name].by_prompt and not chosen and job.reads_in_shards(sequences, question.read_at)
