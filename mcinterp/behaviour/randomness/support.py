"""Questions whose right answer is a draw: the values that may be drawn (the support) and the ways to write each.

A prompt says which by its metadata: `support` is a range of whole numbers (`0-100`), `coin`, `colour`, `animal` or
values apart by bars (`dog|cat|owl`); `frame` is the setting it is asked in. `leads` (what may stand between the prompt
and the value), `again` (text between a value and the next one) and `again_message` (the same as what a user says) are
free to give.
"""

import re
from dataclasses import dataclass
from typing import Any

from mcinterp.errors import InputError
from mcinterp.prompts import Prompt, Prompts

FRAMES = ("plain", "dialogue", "die", "interpreter", "interpreter-print", "interpreter-chat")
LEADS = ("", " ")
WORDS: dict[str, tuple[str, ...]] = {
    "coin": ("heads", "tails"),
    "colour": (
        "blue", "red", "green", "yellow", "purple", "orange", "black", "white", "pink", "grey", "brown", "gold",
    ),
    "animal": (
        "dog", "cat", "horse", "wolf", "fox", "owl", "bear", "whale", "tiger", "mouse", "goat", "snake", "rabbit",
        "crow", "elephant", "lion", "giraffe", "penguin", "dolphin", "kangaroo", "octopus", "platypus", "koala",
        "panda", "zebra", "otter", "eagle", "cheetah", "monkey", "hedgehog",
    ),
}  # fmt: skip
ALIASES = {"grey": ("gray",)}


@dataclass(frozen=True)
class Support:
    """The values that may be drawn, in order, and the name that says so."""

    name: str
    values: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def spellings(self, index: int) -> tuple[str, ...]:
        """The ways to write one value: as it is, with a capital, and by its other spelling."""
        forms = (self.values[index], *ALIASES.get(self.values[index], ()))
        return tuple(dict.fromkeys(spelling for form in forms for spelling in (form, form[:1].upper() + form[1:])))


@dataclass(frozen=True)
class Question:
    """What a prompt asks: its frame, its support, and how values are written after it and after one another."""

    frame: str
    support: Support
    leads: tuple[str, ...] = LEADS
    again: str | None = None
    again_message: str | None = None
    held_out: bool = False

    def answered(self, prompt: Prompt, value: str) -> Prompt:
        """The prompt with a value for its answer and the question asked once more, as text and as messages."""
        assert self.again is not None, "nothing says how the question is asked again"
        lead = self.leads[0] if self.leads != LEADS else "" if prompt.text[-1:].isspace() else " "
        more = {"role": "user", "content": self.again_message or self.again.strip()}
        messages = (*prompt.conversation, {"role": "assistant", "content": value}, more)
        return Prompt(f"{prompt.text}{lead}{value}{self.again}", messages, prompt.template, prompt.metadata)


def support(name: str) -> Support:
    """A support by its name.

    Raises `InputError` for a name that is none, and for fewer than two values.
    """
    values = WORDS.get(name)
    found = re.fullmatch(r"(\d+)-(\d+)", name)
    if found:
        values = tuple(str(number) for number in range(int(found[1]), int(found[2]) + 1))
    elif "|" in name:
        values = tuple(dict.fromkeys(value.strip() for value in name.split("|") if value.strip()))
    if values is None or len(values) < 2:
        raise InputError(
            f"support {name!r} names no two values to draw from; give a range such as 0-100, one of "
            f"{', '.join(WORDS)}, or values apart by bars."
        )
    return Support(name, tuple(values))


def short_name(name: str) -> str:
    """The name of a support in a table or picture: a list of values is cut to its first two."""
    values = name.split("|")
    return name if len(values) < 3 else f"{values[0]}, {values[1]} … ({len(values)})"


def question(prompt: Prompt, index: int) -> Question:
    """What one prompt asks; `InputError` where its metadata does not say so."""
    given = prompt.metadata
    for name in ("support", "frame"):
        if not isinstance(given.get(name), str):
            raise InputError(
                f"prompt {index} ({prompt.text[:40]!r}) has no `{name}`, and what it draws from must be known; "
                f"write it beside its text in the battery."
            )
    leads = given.get("leads", LEADS)
    if not isinstance(leads, list | tuple) or not leads or not all(isinstance(lead, str) for lead in leads):
        raise InputError(f"prompt {index} has `leads` {leads!r}; give a list of strings that may precede the value.")
    return Question(
        frame=given["frame"],
        support=support(given["support"]),
        leads=tuple(leads),
        again=optional(given, "again", index),
        again_message=optional(given, "again_message", index),
        held_out=bool(given.get("held_out", False)),
    )


def optional(given: Any, name: str, index: int) -> str | None:
    """A text of the metadata that may be left out."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"prompt {index} has a `{name}` of type {type(value).__name__}; give text or leave it out.")
    return value


def questions(prompts: Prompts) -> list[Question]:
    """What every prompt asks.

    Raises `InputError` for a prompt whose metadata lacks `support` or `frame`.
    """
    return [question(prompt, index) for index, prompt in enumerate(prompts.items)]
