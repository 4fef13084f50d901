"""What is asked of checkpoints, and what every job begins with: prompts read, checkpoints aligned."""

from collections.abc import Callable
from dataclasses import dataclass

from mcinterp.alignment import Alignment
from mcinterp.chain import Chain, PerStage, load_chain
from mcinterp.checkpoints import Trust
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.rendering import RenderedPrompts

LEAST_COMPLETION = 4
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Question:
    """Which checkpoints, on which prompts: what every job is asked. Numbers depend on nothing outside a question.

    Analyses that take each prompt by itself are made and kept `shard_size` rendered prompts at a time. `placement`,
    `memory` and `store` say how weights are held (see `mcinterp.chain.load_chain`). With `skip_bad`, prompts that
    cannot be used are left out and named in `run.json`. Pickled weights and code of checkpoints are refused unless
    allowed.
    """

    stages: tuple[str, ...]
    prompts: str | None = None
    template: str = "raw"
    attractor: str | None = None
    device: PerStage = "cpu"
    dtype: PerStage = "auto"
    seed: int = 0
    shard_size: int = 512
    placement: str = "auto"
    memory: float | None = None
    store: str = "auto"
    deterministic: bool = False
    skip_bad: bool = False
    allow_pickle: bool = False
    trust_remote_code: bool = False

    @property
    def trust(self) -> Trust:
        """What checkpoints may do beyond being read."""
        return Trust(pickled=self.allow_pickle, remote_code=self.trust_remote_code)


@dataclass(frozen=True)
class Asked:
    """A question whose checkpoints are loaded and aligned, whose prompts are rendered, and whose token is known."""

    question: Question
    chain: Chain
    rendered: RenderedPrompts
    alignment: Alignment
    attractor: int | None
    given: Prompts

    @property
    def source(self) -> str:
        """Where the prompts came from."""
        return self.given.source


def ask(question: Question, prompts: Prompts | Callable[[Chain], Prompts] | None = None, say: Say = silent) -> Asked:
    """Open what a question names and prove that it can be compared; weights are read when they are first used.

    `prompts`, or those that a function chooses for the loaded chain, are used instead of those the question names.
    Raises `InputError` for anything wrong with checkpoints or prompts; files are read before any checkpoint, so that a
    bad one costs no loading.
    """
    skip = question.skip_bad
    named = Prompts.named(question.prompts, skip_bad=skip) if prompts is None and question.prompts else prompts
    chain = load_chain(
        question.stages,
        device=question.device,
        dtype=question.dtype,
        placement=question.placement,
        memory=question.memory,
        store=question.store,
        trust=question.trust,
        lazy=True,
    )
    chosen = named(chain) if callable(named) else named
    given = chosen if chosen is not None else default_prompts(chain, question.template, say)
    given = usable(given, chain, question.template, say) if skip else given
    rendered, alignment = chain.align(given, question.template)
    say(f"aligned: {len(chain.stages)} stages, {len(rendered)} prompts, vocabulary {alignment.vocabulary}")
    return Asked(question, chain, rendered, alignment, attractor_token(chain, question.attractor), given)


def usable(given: Prompts, chain: Chain, rendering: str, say: Say) -> Prompts:
    """The prompts that every stage can read, and that leave room for a short completion; the others are named."""
    kept = given.usable(
        [stage.tokenizer for stage in chain.stages],
        rendering,
        chain.chat_template,
        context=chain.alignment.context - LEAST_COMPLETION,
        vocabulary=chain.alignment.vocabulary,
    )
    for line in kept.skipped:
        say(f"left out: {line}")
    return kept


def default_prompts(chain: Chain, rendering: str = "raw", say: Say = silent) -> Prompts:
    """The shipped battery for the chain, without the prompts that its context cannot hold; how many, is said."""
    pocket = all(stage.checkpoint.spec.startswith("pocket:") for stage in chain.stages)
    battery = Prompts.battery("pocket" if pocket else "mysteries")
    fit = fitting(battery, chain, rendering)
    room = "" if len(fit) == len(battery) else f", which fit the context of {chain.alignment.context}"
    say(f"prompts: {len(fit)} of {len(battery)} of {battery.source}{room}")
    return fit


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
