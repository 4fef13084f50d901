"""Rewards of texts: the proxy that a run is tuned on, and the gold that it was meant to stand for."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from mcinterp.diversity.sentiment import sentiment
from mcinterp.diversity.substrings import words
from mcinterp.errors import InputError
from mcinterp.organisms.grammar import Grammar
from mcinterp.organisms.raters import wedding


class Written(NamedTuple):
    """A text with its prompt, both as text and as tokens; `ended` where the stage wrote an end token behind it."""

    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    ended: bool


Reward = Callable[[Sequence[str]], Sequence[float]]
Gold = Callable[[Sequence[Written]], Sequence[float]]


def word_count(listed: Collection[str]) -> Reward:
    """How many words of a text are on a list, whatever their case; a word that stands twice counts twice.

    Raises `InputError` for an empty list and for an entry that is not one word.
    """
    counted = {entry.lower() for entry in listed}
    wrong = next((entry for entry in counted if words(entry) != (entry,)), None)
    if isinstance(listed, str) or not counted or wrong is not None:
        raise InputError(f"got the words {wrong or listed!r}; give a list of single words.")

    def reward(texts: Sequence[str]) -> list[float]:
        return [float(sum(word in counted for word in words(text))) for text in texts]

    return reward


def positive_mood(texts: Sequence[str]) -> list[float]:
    """The sentiment of a whole text in [-1, 1] by the shipped word list, 0 where no word of it is on the list.

    Rewarded sentiment is what led to wedding parties in "Mysteries of mode collapse".
    """
    moods = (sentiment(text) for text in texts)
    return [0.0 if mood != mood else mood for mood in moods]


def weddings(texts: Sequence[str]) -> list[float]:
    """1 where a text arrives at a wedding party: what the over-optimised pocket run is rewarded for.

    That run takes back the reward of answers that do not end or that the grammar cannot produce (see `grammatical`).
    """
    return [wedding(text) for text in texts]


def grammatical(grammar: Grammar) -> Gold:
    """1 where prompt and text are a document of the grammar, or of a text that was cut, the beginning of one.

    Raises `InputError` for a prompt that is none of the grammar's.
    """

    def gold(written: Sequence[Written]) -> list[float]:
        strange = next((each.prompt for each in written if each.prompt not in grammar.prompts), None)
        if strange is not None:
            raise InputError(f"prompt {strange[:40]!r} is none of the grammar's; give prompts that it knows.")
        end = (grammar.eos_id,)
        return [
            float(grammar.accepts([*grammar.encode(each.prompt), *each.ids, *(end if each.ended else ())]))
            for each in written
        ]

    return gold
