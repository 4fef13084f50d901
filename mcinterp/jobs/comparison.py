"""The main job: compare a base checkpoint with its tuned ones and write a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcinterp.attention import attention_patterns
from mcinterp.attractors import Search, find_attractors
from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.intervene.patching import BOTH, patch
from mcinterp.jobs.locating import locate_steps, save_located
from mcinterp.jobs.question import Asked, Question, Say, ask, silent
from mcinterp.landmarks import landmark_positions, most_changed_prompts, onset
from mcinterp.lens import Lens, common_lens, logit_lens, own_lens
from mcinterp.localisation.locating import SPLIT, locate
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.run import Run
from mcinterp.sequences import PositionSet, Sequences, teacher_force
from mcinterp.summary.attribution import parts_summary
from mcinterp.summary.effects import patch_summary
from mcinterp.summary.lens import attractor_summary, lens_summary
from mcinterp.summary.locate import locate_summary
from mcinterp.tuned_lens import FILE, Fit, fit_chain, load_tuned_lens, tuned_lens
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


def compare(question: CompareQuestion, out: str | Path, *, prompts: Prompts | None = None, say: Say = silent) -> Run:
    """Compare checkpoints layer by layer and write the run directory `out`.

    `prompts` are used instead of those the question names. `say` receives a line at each step. Raises `InputError` for
    anything wrong with checkpoints, prompts or directory, before the long work begins where that can be known.
    """
    asked = ask(question, prompts, say)
    chain, rendered = asked.chain, asked.rendered
    writer = chain.stage(question.written_by or chain.tuned.name).name
    run, found = asked.begin(out), dict[str, Any]()
    if "lens" in question.only:
        sequences = teacher_force(chain, rendered, question.decoding, by=writer)
        found |= read_by_lenses(asked, question, run, sequences, say)
    if "attractors" in question.only:
        say("attractors across prompts")
        attractors = find_attractors(chain, rendered, Search(seed=question.seed))
        found["attractors"] = attractor_summary(run.save("attractors", attractors))
    if "patch" in question.only:
        say("patching across models")
        patched = patch(chain, rendered, directions=base_and_each(chain), attractor=asked.attractor, seed=question.seed)
        found["patch"] = patch_summary(run.save("patch", patched))
    if "logits" in question.only:
        say("attribution of logits")
        written = direct_logit_attribution(
            chain, rendered, by="component", against="plausible", attractor=asked.attractor
        )
        found["logits"] = parts_summary(run.save("logits", written), "attribution", "component")
    if "update" in question.only:
        say("attribution of the update")
        update = update_attribution(chain, rendered, attractor=asked.attractor)
        found["update"] = parts_summary(run.save("update", update), "attribution", "component")
    if "locate" in question.only:
        say("locating: gate, evidence, verification")
        where = locate(chain, rendered, attractor=asked.attractor, held_out=SPLIT, seed=question.seed)
        save_located(run, where)
        found |= {**locate_summary(where), "steps": locate_steps(asked, "auto", say)}
    return asked.finish(run, **found)


def base_and_each(chain: Chain) -> tuple[str, ...]:
    """Both directions between the base and every later stage."""
    if len(chain.stages) == 2:
        return BOTH
    base = chain.base.name
    return tuple(name for stage in chain.names[1:] for name in (f"{base}_to_{stage}", f"{stage}_to_{base}"))


def read_by_lenses(asked: Asked, question: CompareQuestion, run: Run, sequences: Sequences, say: Say) -> dict[str, Any]:
    """Every stage read by every lens, and what follows from it; saved, and summarised."""
    chain = asked.chain
    lenses = chosen_lenses(chain, question, asked.rendered, run, say)
    say("logit lens: " + ", ".join(lens.name for lens in lenses))
    read = logit_lens(chain, sequences, lenses=lenses, positions=question.positions, attractor=asked.attractor)
    lens = run.save("lens", read)
    run.save("landmarks", landmark_positions(lens))
    depth = run.save("onset", onset(lens, seed=question.seed))
    run.save("attention", attention_patterns(chain, sequences, prompts=most_changed_prompts(lens, ATTENTION_PROMPTS)))
    return lens_summary(lens, depth)


def chosen_lenses(
    chain: Chain, question: CompareQuestion, rendered: RenderedPrompts, run: Run, say: Say
) -> Sequence[Lens]:
    """The own and common lens, and the tuned lens asked for (`auto`: those beside the checkpoints)."""
    plain = [own_lens(chain), common_lens(chain)]
    wanted = question.tuned_lens
    if wanted == "none":
        return plain
    if wanted == "fit":
        say("fitting tuned lenses")
        return [*plain, tuned_lens(chain, fit_chain(chain, rendered, run.path / "tuned_lens", question.fit))]
    folders = [Path(s.checkpoint.location if wanted == "auto" else Path(wanted) / s.name) for s in chain.stages]
    if wanted == "auto" and not all((folder / FILE).exists() for folder in folders):
        return plain
    try:
        loaded = [load_tuned_lens(f / FILE, stage) for f, stage in zip(folders, chain.stages, strict=True)]
    except InputError as error:
        if wanted != "auto":
            raise
        say(f"without the tuned lens: {error}")
        return plain
    return [*plain, tuned_lens(chain, loaded)]
