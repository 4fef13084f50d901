"""Edits of a completion at a depth: another likely token, an inserted sentence, or what the user writes.

An edit gives the new beginning of the completion, behind which the stage goes on, and where the unedited completion
goes on, with which that is to be compared.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from mcinterp.errors import InputError

Ids = Sequence[int]
SENTENCE_END = re.compile(r"[.!?。！？][\"')\]”’]*\s*$|\n\s*$")


class Edited(NamedTuple):
    """A changed beginning: its tokens, how many unedited tokens it keeps, and where the unedited text goes on."""

    ids: tuple[int, ...]
    place: int
    after: int


@dataclass(frozen=True)
class Completion:
    """An unedited completion as edits see it: token by token, with the base's likely other tokens at every step."""

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    alternatives: tuple[tuple[int, ...], ...]
    tokenizer: Any

    def nearest(self, target: int, steps: Sequence[int]) -> int | None:
        """Of some steps the one nearest to a target, the earlier of two; none where there is none."""
        return min(steps, key=lambda step: (abs(step - target), step), default=None)

    def beginning(self, place: int) -> str:
        """The text of its first tokens."""
        return self.tokenizer.decode(
            list(self.ids[:place]), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )


@runtime_checkable
class Edit(Protocol):
    """A way to change a completion near a target step; none where it cannot be made there."""

    @property
    def name(self) -> str:
        """What it is called in a result."""
        ...

    def at(self, completion: Completion, target: int) -> Edited | None:
        """The changed beginning."""
        ...


@dataclass(frozen=True)
class NoEdit:
    """The no-op: the unedited beginning up to the target itself, written on again."""

    name: str = "none"

    def at(self, completion: Completion, target: int) -> Edited | None:
        """The unedited beginning."""
        return Edited(completion.ids[:target], target, target)


@dataclass(frozen=True)
class Swap:
    """One token becomes the base's `rank`-th most likely other one, at the nearest step that has one likely enough."""

    rank: int = 1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"got a swap of rank {self.rank}; give 1 for the most likely other token, or more.")

    @property
    def name(self) -> str:
        """What it is called in a result."""
        return f"swap {self.rank}"

    def at(self, completion: Completion, target: int) -> Edited | None:
        """The beginning up to the step, and the other token."""
        able = [step for step, others in enumerate(completion.alternatives) if len(others) >= self.rank]
        step = completion.nearest(target, able)
        if step is None:
            return None
        return Edited((*completion.ids[:step], completion.alternatives[step][self.rank - 1]), step, step + 1)


@dataclass(frozen=True)
class Insert:
    """A sentence is put in at the nearest end of a sentence or line (or right at the start); written as it is given."""

    sentence: str

    @property
    def name(self) -> str:
        """What it is called in a result."""
        return f"insert {self.sentence.strip()!r}"

    def at(self, completion: Completion, target: int) -> Edited | None:
        """The beginning up to there, and the sentence."""
        ends = [0, *(n + 1 for n in range(len(completion.ids) - 1) if SENTENCE_END.search(completion.tokens[n]))]
        breaks = [n for n in range(1, len(completion.ids)) if completion.tokens[n].startswith("\n")]
        place = completion.nearest(target, sorted({*ends, *breaks}))
        if place is None or not completion.ids:
            return None
        kept = completion.ids[:place]
        return Edited((*kept, *tokens_behind(completion, kept, self.sentence)), place, place)


@dataclass(frozen=True)
class Rewrite:
    """The user's own edit: from the completion's text up to the target to what shall stand there instead."""

    name: str
    change: Callable[[str], str]

    def at(self, completion: Completion, target: int) -> Edited | None:
        """The changed text; none where it is left as it was."""
        before = completion.beginning(target)
        after = self.change(before)
        if after == before:
            return None
        return Edited(tokens_behind(completion, (), after), shared_tokens(completion, target, after), target)


def shared_tokens(completion: Completion, target: int, text: str) -> int:
    """How many of the first tokens of a completion a changed beginning keeps."""
    kept = [place for place in range(target + 1) if text.startswith(completion.beginning(place))]
    return max(kept, default=0)


def tokens_behind(completion: Completion, kept: Ids, text: str) -> tuple[int, ...]:
    """The tokens of a text behind the prompt and some tokens: as in the whole text where its tokens allow it.

    Of both together, or of the text alone where those would change the tokens before.
    """
    tokenizer, before = completion.tokenizer, [*completion.prompt, *kept]
    decoded = tokenizer.decode(before, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    both, first = (tokenizer(each, add_special_tokens=False).input_ids for each in (decoded + text, decoded))
    if first == before and both[: len(before)] == before:
        return tuple(both[len(before) :])
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


@dataclass(frozen=True)
class Perturbing:
    """Which edits, where, and how they are followed.

    `depths` are shares of the unedited completion (of its first `steps` tokens, where it is longer); behind an edit
    `steps` tokens are written. A swapped-in token has a probability of `plausible` or more under the base. A text is
    back where `least` tokens or more are the unedited ones up to the end; distances are read over `window` tokens. The
    base is matched in entropy over the prompts of each template, or over all of them.
    """

    edits: tuple[Edit, ...] = (Swap(1), Swap(2), Insert(" I am not sure."))
    depths: tuple[float, ...] = (0.25, 0.5)
    steps: int = 40
    samples: int = 2
    window: int = 4
    least: int = 4
    plausible: float = 0.01
    match_by: Literal["template", "all"] = "template"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.samples, self.window, self.least) < 1:
            raise InputError(
                f"got steps={self.steps}, samples={self.samples}, window={self.window}, least={self.least}; "
                f"give 1 or more of each."
            )
        if not self.depths or not all(0 <= depth < 1 for depth in self.depths):
            raise InputError(f"got depths={self.depths}; give shares of a completion, from 0 to below 1.")
        names = [edit.name for edit in self.edits]
        if not names or len({"none", *names}) != len(names) + 1:
            raise InputError(f"got edits named {names}; give one or more, each with a name of its own, none 'none'.")

    @property
    def all_edits(self) -> tuple[Edit, ...]:
        """The edits, the no-op first."""
        return (NoEdit(), *self.edits)


DEFAULT = Perturbing()
