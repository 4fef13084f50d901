"""The sentiment of a sentence by a short list of English words, which is data (`sentiment.json`) and shipped with it.

It counts words and understands nothing: irony, context and any word that is not on the list are lost on it, and many
sentences have no word on it and no sentiment therefore. It serves to compare stages on one task, not to judge a text.
"""

import json
from functools import cache
from importlib import resources

from mcinterp.diversity.substrings import words

REACH = 3


@cache
def lexicon() -> dict[str, frozenset[str]]:
    """The lists `positive`, `negative` and `negations`."""
    text = resources.files("mcinterp.diversity").joinpath("sentiment.json").read_text(encoding="utf-8")
    return {name: frozenset(listed) for name, listed in json.loads(text).items()}


def sentiment(sentence: str) -> float:
    """(positive - negative) / (positive + negative) words, in [-1, 1]; missing where there is neither.

    A word is turned round by a negation among the three words before it (`not happy`).
    """
    listed, found = lexicon(), words(sentence)
    score = total = 0
    for place, word in enumerate(found):
        sign = (word in listed["positive"]) - (word in listed["negative"])
        turned = any(before in listed["negations"] for before in found[max(0, place - REACH) : place])
        score += -sign if turned else sign
        total += abs(sign)
    return score / total if total else float("nan")
