"""What is asked of checkpoints, and what every job begins with: prompts read, checkpoints aligned."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcinterp.alignment import Alignment
from mcinterp.chain import Chain, PerStage, load_chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts
from mcinterp.results import write_json
from mcinterp.run import SUMMARY, Run
from mcinterp.sequences import Sequences, teacher_force
from mcinterp.show.report import write_report
from mcinterp.summary.opening import opening_summary

LEAST_COMPLETION = 4
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Question:
    """Which checkpoints, on which prompts: what every job is asked. Numbers depend on nothing outside a question."""

    stages: tuple[str, ...]
    prompts: str | None = None
    template: str = "raw"
    attractor: str | None = None
    device: PerStage = "cpu"
    dtype: PerStage = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Asked:
    """A question whose checkpoints are loaded and aligned, whose prompts are rendered, and whose token is known."""

    question: Question
    chain: Chain
    rendered: RenderedPrompts
    alignment: Alignment
    attractor: int | None
    source: str

    def sequences(self, read_at: Sequence[int], written_by: str | None = None) -> Sequences:
        """The prompts, with a completion of one stage (the last unless named) as long as the read positions need."""
        furthest = max(read_at, default=0)
        if furthest < 1:
            return as_sequences(self.chain, self.rendered)
        return teacher_force(self.chain, self.rendered, Decoding(furthest), by=written_by)

    def begin(self, out: str | Path) -> Run:
        """Open the run directory, which replaces an earlier run there; see `Run.create`."""
        run = Run.create(
            out, {**asdict(self.question), "prompts": self.source, "n_prompts": len({*self.rendered.prompt_index})}
        )
        run.update(
            alignment=self.alignment.to_dict(),
            checkpoints=[s.checkpoint.provenance() | {"fingerprint": s.fingerprint} for s in self.chain.stages],
        )
        return run

    def finish(self, run: Run, **found: Any) -> Run:
        """Write the summary of what was found and the report, and say that the run is whole.

        Entries of `prompts` are added to those of the prompts themselves.
        """
        opening = opening_summary(self.chain.names, self.rendered, self.alignment.to_dict())
        more = found.pop("prompts", [{} for _ in opening["prompts"]])
        prompts = [one | other for one, other in zip(opening["prompts"], more, strict=True)]
        write_json(run.path / SUMMARY, {**opening, **found, "prompts": prompts})
        write_report(run)
        run.update(state="finished")
        return run


def ask(question: Question, prompts: Prompts | Callable[[Chain], Prompts] | None = None, say: Say = silent) -> Asked:
    """Load what a question names and prove that it can be compared.

    `prompts`, or those that a function chooses for the loaded chain, are used instead of those the question names.
    Raises `InputError` for anything wrong with checkpoints or prompts; files are read before any checkpoint, so that a
    bad one costs no loading.
    """
    named = Prompts.named(question.prompts) if prompts is None and question.prompts else prompts
    chain = load_chain(question.stages, device=question.device, dtype=question.dtype)
    chosen = named(chain) if callable(named) else named
    given = chosen if chosen is not None else default_prompts(chain, question.template)
    rendered, alignment = chain.align(given, question.template)
    say(f"aligned: {len(chain.stages)} stages, {len(rendered)} prompts, vocabulary {alignment.vocabulary}")
    return Asked(question, chain, rendered, alignment, attractor_token(chain, question.attractor), given.source)


def default_prompts(chain: Chain, rendering: str = "raw") -> Prompts:
    """The shipped battery for the chain, without the prompts that its context cannot hold."""
    pocket = all(stage.checkpoint.spec.startswith("pocket:") for stage in chain.stages)
    return fitting(Prompts.battery("pocket" if pocket else "mysteries"), chain, rendering)


def fitting(battery: Prompts, chain: Chain, rendering: str = "raw") -> Prompts:
    """The prompts of a battery that the context of a chain holds, with room for a short completion.

    Raises `InputError` where it holds none.
    """
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
