"""One sweep of cross-model patching as a job: what is asked on the command line, into a run directory."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from mcinterp.completions import Decoding
from mcinterp.engines.interface import Place
from mcinterp.intervene.cells import Heads, Neurons
from mcinterp.intervene.held import generate_patched
from mcinterp.intervene.patching import BOTH, GIGABYTE, STANDARD, patch
from mcinterp.intervene.places import PositionChoice
from mcinterp.intervene.running import Engine
from mcinterp.intervene.sites import SiteName
from mcinterp.jobs.job import LOCAL, Job, answer
from mcinterp.jobs.question import Asked, Question, Say, silent
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.run.writing import Existing
from mcinterp.sequences import Sequences
from mcinterp.summary.effects import held_summary, patch_summary


@dataclass(frozen=True)
class PatchQuestion(Question):
    """What `mcinterp patch` is asked: the question and the sweep; see `mcinterp.patch` for each entry.

    `generate` tokens are also written under each patch, after the `generate_prompts` first prompts.
    """

    sites: tuple[SiteName, ...] = STANDARD
    layers: tuple[int, ...] | None = None
    positions: PositionChoice = "last"
    each_position: bool = False
    heads: Heads = None
    neurons: Neurons = None
    window: int = 1
    directions: tuple[str, ...] = BOTH
    donor: Literal["same", "mean", "zero"] = "same"
    donor_prompts: str | None = None
    read_at: tuple[int, ...] = (0,)
    written_by: str | None = None
    metrics: tuple[str, ...] | None = None
    controls: bool = True
    engine: Engine = "auto"
    verify: int = 0
    max_bytes: int = GIGABYTE
    generate: int = 0
    generate_prompts: int = 8
    temperature: float = 0.0


def patch_checkpoints(
    question: PatchQuestion,
    out: str | Path,
    *,
    prompts: Prompts | None = None,
    say: Say = silent,
    existing: Existing = "refuse",
    place: Place = LOCAL,
) -> Run:
    """Run a sweep and write `patch.nc` (and `held.nc`), the summary and the report into the run directory `out`.

    A shard's `shuffled` control takes its partners from the shard, and its `random` one numbers prompts within it.
    `existing` says what becomes of an earlier run there. Raises `InputError` for anything that does not exist, before
    an earlier run in the directory is replaced.
    """
    return answer(question, out, partial(swept, question), prompts=prompts, say=say, existing=existing, place=place)


def swept(question: PatchQuestion, job: Job) -> dict[str, Any]:
    """The sweep and what is written under patches, and their entries of the summary."""
    sequences = job.sequences(question.read_at, question.written_by)
    job.say("patching across models")
    whole = question.donor == "mean" or question.donor_prompts is not None or not apart(question, job, sequences)
    if whole:
        patched = job.made("patch", lambda: sweep(question, job.asked, sequences))
    else:
        patched = job.sharded("patch", partial(sweep, question), sequences)
    found: dict[str, Any] = {"patch": patch_summary(patched)}
    if question.generate:
        found["held"] = held_summary(job.made("held", lambda: write_held(job.asked, question)))
    return found


def apart(question: PatchQuestion, job: Job, sequences: Sequences) -> bool:
    """Whether every shard has the positions that are read, and those that are patched are named in its own terms."""
    named = isinstance(question.positions, str) or not question.each_position
    return named and job.reads_in_shards(sequences, question.read_at)


def sweep(question: PatchQuestion, asked: Asked, sequences: Sequences) -> xr.Dataset:
    """The sweep that a question asks for."""
    donors = asked.chain.render(Prompts.named(question.donor_prompts)) if question.donor_prompts else None
    return patch(
        asked.chain,
        sequences,
        **shared(question),
        positions=question.positions,
        each_position=question.each_position,
        metrics=question.metrics,
        donor=question.donor,
        donor_prompts=donors,
        read_at=question.read_at,
        attractor=asked.attractor,
        engine=question.engine,
        verify=question.verify,
        max_bytes=question.max_bytes,
    )


def shared(question: PatchQuestion) -> dict[str, Any]:
    """What a sweep and a held patch are both asked."""
    names = ("sites", "layers", "directions", "heads", "neurons", "window", "controls", "seed")
    return {name: getattr(question, name) for name in names}


def write_held(asked: Asked, question: PatchQuestion) -> xr.Dataset:
    """What the recipient writes under each patch, after the first prompts."""
    decoding = Decoding(question.generate, question.temperature, question.seed)
    prompts = asked.rendered.select(range(min(question.generate_prompts, len(asked.rendered))))
    return generate_patched(asked.chain, prompts, **shared(question), decoding=decoding)
