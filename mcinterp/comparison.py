"""The main job: compare a base checkpoint with its tuned ones and write a run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mcinterp.attention import attention_patterns
from mcinterp.attractors import Search, find_attractors
from mcinterp.chain import Chain, PerStage, load_chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.landmarks import landmark_positions, most_changed_prompts, onset
from mcinterp.lens import Lens, common_lens, logit_lens, own_lens
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import write_json
from mcinterp.run import SUMMARY, Run
from mcinterp.sequences import PositionSet, teacher_force
from mcinterp.show.report import write_report
from mcinterp.summary import summarise
from mcinterp.tuned_lens import FILE, Fit, fit_chain, load_tuned_lens, tuned_lens

ATTENTION_PROMPTS = 3
LEAST_COMPLETION = 4
Say = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is asked of a chain of checkpoints: everything that a run's numbers depend on."""

    stages: tuple[str, ...]
    prompts: str | None = None
    template: str = "raw"
    positions: PositionSet = "all"
    decoding: Decoding = field(default_factory=Decoding)
    written_by: str | None = None
    attractor: str | None = None
    tuned_lens: str = "auto"
    fit: Fit = field(default_factory=Fit)
    device: PerStage = "cpu"
    dtype: PerStage = "auto"
    seed: int = 0


def compare(
    question: Question, out: str | Path, *, prompts: Prompts | None = None, say: Say = lambda line: None
) -> Run:
    """Compare checkpoints layer by layer and write the run directory `out`.

    `prompts` are used instead of those the question names. `say` receives a line at each step. Raises `InputError` for
    anything wrong with checkpoints, prompts or directory, before the long work begins where that can be known.
    """
    given = prompts if prompts is not None else named_prompts(question)
    chain = load_chain(question.stages, device=question.device, dtype=question.dtype)
    given = given if given is not None else default_prompts(chain, question.template)
    rendered, alignment = chain.align(given, question.template)
    followed = attractor_token(chain, question.attractor)
    writer = question.written_by or chain.tuned.name
    chain.stage(writer)
    run = Run.create(out, {**asdict(question), "prompts": given.source, "n_prompts": len(given)})
    run.update(
        alignment=alignment.to_dict(),
        checkpoints=[s.checkpoint.provenance() | {"fingerprint": s.fingerprint} for s in chain.stages],
    )
    say(f"aligned: {len(chain.stages)} stages, {len(rendered)} prompts, vocabulary {alignment.vocabulary}")

    sequences = teacher_force(chain, rendered, question.decoding, by=writer)
    lenses = chosen_lenses(chain, question, rendered, run, say)
    say("logit lens: " + ", ".join(lens.name for lens in lenses))
    lens = run.save(
        "lens", logit_lens(chain, sequences, lenses=lenses, positions=question.positions, attractor=followed)
    )
    run.save("landmarks", landmark_positions(lens))
    depth = run.save("onset", onset(lens, seed=question.seed))
    say("attractors across prompts")
    found = run.save("attractors", find_attractors(chain, rendered, Search(seed=question.seed)))
    run.save("attention", attention_patterns(chain, sequences, prompts=most_changed_prompts(lens, ATTENTION_PROMPTS)))
    write_json(run.path / SUMMARY, summarise(lens, depth, found, alignment.to_dict()))
    write_report(run)
    run.update(state="finished")
    return run


def named_prompts(question: Question) -> Prompts | None:
    """The prompts that the question names; read before any checkpoint, so that a bad file costs no loading."""
    return Prompts.named(question.prompts) if question.prompts else None


def default_prompts(chain: Chain, rendering: str = "raw") -> Prompts:
    """The shipped battery for the chain, without the prompts that its context or vocabulary cannot hold."""
    pocket = all(stage.checkpoint.spec.startswith("pocket:") for stage in chain.stages)
    battery = Prompts.battery("pocket" if pocket else "mysteries")
    rendered = battery.render(chain.base.tokenizer, rendering, chain.chat_template)
    room = chain.alignment.context - LEAST_COMPLETION
    unfit = {rendered.prompt_index[i] for i in range(len(rendered)) if not rendered.fits(i, room)}
    if len(unfit) == len(battery):
        raise InputError(f"no prompt of {battery.source} fits a context of {chain.alignment.context}; give --prompts.")
    return battery.select(i for i in range(len(battery)) if i not in unfit)


def attractor_token(chain: Chain, text: str | None) -> int | None:
    """The id of the token that the user wants followed."""
    if text is None:
        return None
    ids = chain.tuned.tokenizer(text, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise InputError(f"attractor {text!r} is {len(ids)} tokens in this vocabulary; give text that is exactly one.")
    return ids[0]


def chosen_lenses(chain: Chain, question: Question, rendered: RenderedPrompts, run: Run, say: Say) -> list[Lens]:
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
