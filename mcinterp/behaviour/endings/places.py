"""Where a story is branched: behind its first sentences or lines, or its first tokens.

What stands behind a place has no say in where it is, so that what its beginning tells of the outcome is told by the
beginning alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mcinterp.behaviour.perturbation.edits import SENTENCE_END
from mcinterp.errors import InputError

Unit = Literal["sentence", "token"]


@dataclass(frozen=True)
class Branched:
    """How stories are branched: behind `kept` sentences (or lines; or tokens, by `unit`), `samples` texts from each.

    Texts are cut `length` tokens behind the prompt. Places on the base's story behind `exact_from` units or more are
    read from an exact tree of `nodes` nodes where it holds all but `tolerance` of every stage's probability; none is
    grown where `nodes` is 0.
    """

    samples: int = 16
    kept: tuple[int, ...] = (0, 1, 2, 4, 6)
    unit: Unit = "sentence"
    length: int = 96
    exact_from: int = 4
    nodes: int = 0
    tolerance: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2 or self.length < 1:
            raise InputError(f"got samples={self.samples} and length={self.length}; give 2 or more samples, 1 or more.")
        if self.kept[:1] != (0,) or list(self.kept) != sorted(set(self.kept)):
            raise InputError(f"got kept={self.kept}; give 0, where stories begin, and larger numbers in order.")
        if self.unit not in get_args(Unit):
            raise InputError(f"got unit {self.unit!r}; give sentence or token.")
        if self.nodes < 0 or not 0 < self.tolerance < 1:
            raise InputError(f"got nodes={self.nodes}, tolerance={self.tolerance}; give 0 or more and a share below 1.")


@dataclass(frozen=True)
class Place:
    """A beginning to go on from: which prompt, all its tokens, how many are the story's, and whether it is whole."""

    prompt: int
    ids: tuple[int, ...]
    kept: int
    whole: bool


def breaks(tokens: Sequence[str]) -> list[int]:
    """How many tokens stand up to the end of every sentence or line that says something."""
    found, said = [], False
    for place, token in enumerate(tokens, 1):
        before, line, after = token.rpartition("\n")
        if line:
            over, said = said or worded(before), worded(after)
        else:
            said = said or worded(token)
            over = said and bool(SENTENCE_END.search(token))
            said = said and not over
        if over:
            found.append(place)
    return found


def worded(text: str) -> bool:
    """Whether a text has a letter or digit."""
    return any(letter.isalnum() for letter in text)


def places(tokens: Sequence[str], kept: Sequence[int], unit: Unit = "sentence") -> list[int]:
    """How many tokens stand behind each number of units; the whole text where it has no more of them."""
    ends = [0, *(breaks(tokens) if unit == "sentence" else range(1, len(tokens) + 1))]
    return [min(ends[number], len(tokens)) if number < len(ends) else len(tokens) for number in kept]
