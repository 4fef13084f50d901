"""Which of some outcomes a text has: strings and regular expressions that a battery names."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mcinterp.errors import InputError
from mcinterp.prompts import Prompts

OTHER, UNFINISHED = -1, -2
EXPRESSION = "re:"


class Outcomes(NamedTuple):
    """The outcomes of one prompt: names, and a pattern for each."""

    names: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]


def outcomes_of(prompts: Prompts) -> list[Outcomes]:
    """The outcomes of every prompt, from `outcomes` of its battery.

    These are a list of strings, each an outcome of its own, or names with a list of signs each. A sign is a string,
    found whatever its case where whole words stand, or a regular expression behind `re:`.

    Raises `InputError` for a prompt without two outcomes or more, equal strings, or an expression that is none.
    """
    return [
        read(f"{prompts.source}, prompt {index}", prompt.metadata.get("outcomes"))
        for index, prompt in enumerate(prompts.items)
    ]


def read(where: str, given: Any) -> Outcomes:
    """The outcomes of one prompt."""
    named = {str(text): [text] for text in given} if isinstance(given, list) else given
    listed = [sign for signs in named.values() for sign in signs] if usable(named) else []
    bare = [sign.strip().casefold() for sign in listed if isinstance(sign, str)]
    if len(set(bare) - {""}) != len(listed) or not usable(named) or len(named) < 2:
        raise InputError(f"{where}: got outcomes {given!r}; give two or more, of different strings that are not empty.")
    try:
        patterns = tuple(re.compile("|".join(map(expression, signs)), re.IGNORECASE) for signs in named.values())
    except re.error as error:
        raise InputError(f"{where}: got outcomes {given!r} ({error}); give valid regular expressions.") from error
    return Outcomes(tuple(named), patterns)


def usable(named: Any) -> bool:
    """Whether these are names with lists of signs."""
    return isinstance(named, Mapping) and all(isinstance(signs, list) and signs for signs in named.values())


def expression(sign: str) -> str:
    """The regular expression of a sign; strings stand where no word goes on at either end."""
    if sign.startswith(EXPRESSION):
        return f"(?:{sign.removeprefix(EXPRESSION)})"
    bare = sign.strip()
    before = r"(?<!\w)" if re.match(r"\w", bare) else ""
    behind = r"(?!\w)" if re.search(r"\w$", bare) else ""
    return before + re.escape(bare) + behind


def outcome_of(text: str, outcomes: Outcomes, *, ended: bool) -> int:
    """The number of the outcome that stands last in a text; of two that end together the longer.

    `OTHER` (-1) where none does, or `UNFINISHED` (-2) where the text was cut too.
    """
    ends = []
    for number, pattern in enumerate(outcomes.patterns):
        last = [found.span() for found in pattern.finditer(text)][-1:]
        ends += [(end, end - start, number) for start, end in last]
    if ends:
        return max(ends)[2]
    return OTHER if ended else UNFINISHED
