"""Locating a collapse as a job: the whole chain from base to last stage, then step by step, into a run directory."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from mcinterp.errors import InputError
from mcinterp.jobs.question import Asked, Question, Say, ask, silent
from mcinterp.localisation.gate import PLACES
from mcinterp.localisation.locating import SPLIT, Located, ends_of_chain, locate
from mcinterp.prompts import Prompts
from mcinterp.run import Run
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
    question: LocateQuestion, out: str | Path, *, prompts: Prompts | None = None, say: Say = silent
) -> Run:
    """Locate a collapse, verify the answer, and write the run directory `out`.

    Raises `InputError` for anything that does not exist, before an earlier run in the directory is replaced.
    """
    named = {"none": None, SPLIT: SPLIT}
    held_out = named[question.held_out] if question.held_out in named else Prompts.named(question.held_out)
    controls = {"auto": None, "none": ()}
    given = controls[question.controls] if question.controls in controls else Prompts.named(question.controls)
    asked = ask(question, prompts, say)
    Run.at(out)
    say("locating: gate, evidence, verification")
    found = locate(
        asked.chain,
        asked.rendered,
        at=question.at,
        heads=question.heads,
        positions=question.positions,
        attractor=asked.attractor,
        held_out=held_out,
        controls=given,
        verification=question.verification,
        seed=question.seed,
    )
    steps = locate_steps(asked, question.at, say)
    run = asked.begin(out)
    save_located(run, found)
    return asked.finish(run, **locate_summary(found), steps=steps)


def locate_steps(asked: Asked, at: str, say: Say) -> list[dict[str, Any]]:
    """From each stage to the next, where there are several steps: the verdict and the first sites, not verified."""
    numbers = list(pairwise(range(len(asked.chain.stages))))
    if len(numbers) < 2:
        return []
    entries = []
    for earlier, later in numbers:
        pair = ends_of_chain(asked.chain, earlier, later)
        say(f"locating: {pair.names[0]} to {pair.names[1]}")
        found = locate(pair, asked.rendered, at=at, held_out=None, verification=False, seed=asked.question.seed)
        entries.append(step_summary(pair.names, found))
    return entries


def save_located(run: Run, found: Located) -> None:
    """Every dataset that the answer rests on."""
    run.save("gate", found.gate.table)
    for name in ("sites", "evidence", "pairs", "heads", "positions", "verification"):
        dataset = getattr(found, name)
        if dataset is not None and dataset.sizes:
            run.save(name, dataset)
