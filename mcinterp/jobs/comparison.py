"""The main job: compare a base checkpoint with its tuned ones and write a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from mcinterp.attention import attention_patterns
from mcinterp.attractors import Search, find_attractors
from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.engines.interface import Place
from mcinterp.errors import InputError
from mcinterp.intervene.patching import BOTH, patch
from mcinterp.jobs.job import LOCAL, Job, answer
from mcinterp.jobs.locating import locate_steps, located
from mcinterp.jobs.question import Asked, Question, Say, silent
from mcinterp.landmarks import landmark_positions, most_changed_prompts, onset
from mcinterp.lens import common_lens, logit_lens, own_lens
from mcinterp.localisation.locating import SPLIT
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.run.writing import Existing
from mcinterp.sequences import PositionSet, Sequences
from mcinterp.summary.attribution import parts_summary
from mcinterp.summary.effects import patch_summary
from mcinterp.summary.lens import attractor_summary, lens_summary
from mcinterp.tuned_lens import FILE, Fit, TunedLens, fit_chain, load_tuned_lens, tuned_lens
from mcinterp.weights.update import update_attribution

ATTENTION_PROMPTS = 3
ANALYSES = ("lens", "attractors", "patch", "logits", "update", "locate")


@dataclass(frozen=True)
class CompareQuestion(Question):
    """What `compare` is asked: the question, how it is read, and which analyses answer it (all unless named)."""

    positions: PositionSet = "all"
    decoding: Decoding = field(default_factory=Decoding)
    written_by: str | None = None
    tuned_lens: str = "auto"
    fit: Fit = field(default_factory=Fit)
    only: tuple[str, ...] = ANALYSES

    def __post_init__(self) -> None:
        unknown = [name for name in self.only if name not in ANALYSES]
        if unknown or not self.only:
            raise InputError(f"got analyses {list(self.only)}; give some of {', '.join(ANALYSES)}.")


def compare(
    question: CompareQuestion,
    out: str | Path,
    *,
    prompts: Prompts | None = None,
    say: Say = silent,
    existing: Existing = "refuse",
    place: Place = LOCAL,
) -> Run:
    """Compare checkpoints layer by layer and write the run directory `out`.

    `prompts` are used instead of those the question names. `say` receives a line at each step. `existing` says what
    becomes of an earlier run in the directory, `place` where shards are computed. Raises `InputError` for anything
    wrong with checkpoints, prompts or directory, before the long work begins where that can be known.
    """
    return answer(question, out, partial(compared, question), prompts=prompts, say=say, existing=existing, place=place)


def compared(question: CompareQuestion, job: Job) -> dict[str, Any]:
    """Every analysis that was asked for, and its entries of the summary."""
    chain, found = job.chain, dict[str, Any]()
    writer = chain.stage(question.written_by or chain.tuned.name).name
    if "lens" in question.only:
        found |= read_by_lenses(job, question, writer)
    if "attractors" in question.only:
        job.say("attractors across prompts")
        search = Search(seed=question.seed)
        found["attractors"] = attractor_summary(
            job.made("attractors", lambda: find_attractors(chain, job.rendered, search))
        )
    if "patch" in question.only:
        job.say("patching across models")
        found["patch"] = patch_summary(job.sharded("patch", patched, job.plain))
    if "logits" in question.only:
        job.say("attribution of logits")
        found["logits"] = parts_summary(job.sharded("logits", written, job.plain), "attribution", "component")
    if "update" in question.only:
        job.say("attribution of the update")
        found["update"] = parts_summary(job.sharded("update", updated, job.plain), "attribution", "component")
    if "locate" in question.only:
        job.say("locating: gate, evidence, verification")
        found |= job.together("located", lambda: located(job.asked, held_out=SPLIT))
        found["steps"] = locate_steps(job, "auto")
    return found


def patched(asked: Asked, sequences: Sequences) -> xr.Dataset:
    """The standard sweep between the base and every later stage."""
    directions = base_and_each(asked.chain)
    return patch(asked.chain, sequences, directions=directions, attractor=asked.attractor, seed=asked.question.seed)


def written(asked: Asked, sequences: Sequences) -> xr.Dataset:
    """Which components write the attractor."""
    return direct_logit_attribution(
        asked.chain, sequences, by="component", against="plausible", attractor=asked.attractor
    )


def updated(asked: Asked, sequences: Sequences) -> xr.Dataset:
    """Which part of the update made it."""
    return update_attribution(asked.chain, sequences, attractor=asked.attractor)


def base_and_each(chain: Chain) -> tuple[str, ...]:
    """Both directions between the base and every later stage."""
    if len(chain.stages) == 2:
        return BOTH
    base = chain.base.name
    return tuple(name for stage in chain.names[1:] for name in (f"{base}_to_{stage}", f"{stage}_to_{base}"))


def read_by_lenses(job: Job, question: CompareQuestion, writer: str) -> dict[str, Any]:
    """Every stage read by every lens, and what follows from it; saved, and summarised."""
    sequences = job.completed(question.decoding, writer)
    translators = chosen_translators(job, question)
    job.say("logit lens: own, common" + (", tuned" if translators else ""))
    lens = job.sharded("lens", partial(read, question.positions, translators), sequences)
    job.made("landmarks", lambda: landmark_positions(lens))
    depth = job.made("onset", lambda: onset(lens, seed=question.seed))
    most = most_changed_prompts(lens, ATTENTION_PROMPTS)
    job.made("attention", lambda: attention_patterns(job.chain, sequences, prompts=most))
    return lens_summary(lens, depth)


def read(
    positions: PositionSet, translators: Sequence[TunedLens] | None, asked: Asked, sequences: Sequences
) -> xr.Dataset:
    """Some sequences under the own and the common lens, and the tuned one where there are translators."""
    chain = asked.chain
    tuned = [tuned_lens(chain, translators)] if translators else []
    lenses = [own_lens(chain), common_lens(chain), *tuned]
    return logit_lens(chain, sequences, lenses=lenses, positions=positions, attractor=asked.attractor)


def chosen_translators(job: Job, question: CompareQuestion) -> list[TunedLens] | None:
    """The tuned lens asked for, stage by stage (`auto`: those beside the checkpoints, where there are some)."""
    chain, wanted = job.chain, question.tuned_lens
    if wanted == "none":
        return None
    if wanted == "fit":
        job.say("fitting tuned lenses")
        root = job.run.folder("tuned_lens", lambda place: fit_chain(chain, job.rendered, place, question.fit))
        folders = [root / stage.name for stage in chain.stages]
    else:
        folders = [Path(s.checkpoint.location if wanted == "auto" else Path(wanted) / s.name) for s in chain.stages]
    if wanted == "auto" and not all((folder / FILE).exists() for folder in folders):
        return None
    try:
        return [load_tuned_lens(f / FILE, stage) for f, stage in zip(folders, chain.stages, strict=True)]
    except InputError as error:
        if wanted != "auto":
            raise
        job.say(f"without the tuned lens: {error}")
        return None
