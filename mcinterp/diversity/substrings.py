"""The string that most outputs of a task hold whatever the input, by number of words.

From the comments to "Mysteries of mode collapse": whatever word is spelt in Morse, the answer is the same phrase;
descriptions of all letters are made of the same words; every day has the same date.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float

Words = tuple[str, ...]
Task = Sequence[Sequence[Sequence[str]]]
WORD = re.compile(r"\w+(?:['’]\w+)*")


def words(text: str) -> Words:
    """The words of a text in small letters; punctuation and line breaks are no words."""
    return tuple(WORD.findall(text.lower()))


def runs(text: Sequence[str], n: int) -> set[Words]:
    """All different runs of n words."""
    return {tuple(text[start : start + n]) for start in range(len(text) - n + 1)}


def shares(task: Task, n: int) -> dict[Words, float]:
    """For every run of n words the share of outputs that hold it, each input (outer list) weighing the same."""
    total: dict[Words, float] = {}
    for outputs in task:
        held = Counter(run for text in outputs for run in runs(text, n))
        for run, count in held.items():
            total[run] = total.get(run, 0.0) + count / len(outputs) / len(task)
    return total


def modal(task: Task, n: int, without: Collection[Words] = ()) -> Words:
    """The run of n words that most outputs hold, the first in alphabetical order of equals; empty where there is none.

    `without` leaves runs out, such as those that every prompt of the task holds itself.
    """
    found = {run: share for run, share in shares(task, n).items() if run not in without}
    return min(found, key=lambda run: (-round(found[run], 12), run)) if found else ()


def holding(task: Task, run: Words) -> Float[np.ndarray, "prompt"]:
    """The share of each input's outputs that hold a run; 0 for the empty run."""
    there = [[bool(run) and run in runs(text, len(run)) for text in outputs] for outputs in task]
    return np.asarray([float(np.mean(each)) for each in there])


def in_every_prompt(prompts: Sequence[Sequence[str]], n: int) -> set[Words]:
    """The runs of n words that all prompts hold: repeating those is no attractor."""
    return set.intersection(*(runs(prompt, n) for prompt in prompts))


def shuffled(task: Task, random: np.random.Generator) -> list[list[Words]]:
    """The outputs with all their words dealt out anew, each of its own length: what the words alone would give."""
    whole = np.asarray([word for outputs in task for text in outputs for word in text], dtype=object)
    dealt = iter(random.permutation(whole).tolist())
    return [[tuple(next(dealt) for _ in text) for text in outputs] for outputs in task]
