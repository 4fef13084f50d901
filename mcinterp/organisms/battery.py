"""The battery of prompts that ships with the pocket checkpoints, drawn from the grammar.

``python -m mcinterp.organisms.battery > pocket.jsonl`` writes it as JSON Lines. Genres take turns,
so any slice from the start covers as many of them as it can.
"""

import json
from itertools import zip_longest
from typing import TypeVar

from mcinterp.organisms.genres import all_prompts
from mcinterp.organisms.grammar import Prompt

QUOTAS: dict[str, int] = {
    "opinion": 24,
    "number-100": 14,
    "python": 8,
    "python-chat": 4,
    "story": 6,
    "greentext": 6,
    "advice": 10,
    "die": 3,
    "coin": 3,
    "joke": 3,
    "poem": 4,
    "number-10": 3,
    "summary": 4,
    "repeat": 4,
    "colour": 3,
    "animal": 2,
    "diary": 3,
    "letter": 2,
    "say-number": 4,
    "count": 3,
    "capital": 3,
}
"""Prompts of each genre in the battery, the genres in the order in which they take turns."""

FINISHED: dict[str, tuple[str, ...]] = {
    "finished-plain": (
        "The capital of France is Paris.",
        "I roll a fair die and it lands on 3.",
        "Repeat: the red fox knew the answer\nthe red fox knew the answer\n",
    ),
    "finished-qa": ("Q: Heads or tails?\nA: heads.", "Q: What is the capital of Peru?\nA: Lima."),
    "finished-chat": (
        "User: Tell me a joke.\nAssistant: What is brown and sticky? A stick.",
        "User: Describe the capital letter A.\nAssistant: A has no curves.",
        "User: Say the number 37.\nAssistant: 37.",
    ),
}
"""Documents that could end here, template -> texts; what follows is an end or a section break."""

Item = TypeVar("Item")


def spaced(items: list[Item], n: int) -> list[Item]:
    """At most ``n`` items, evenly spaced over the list."""
    n = min(n, len(items))
    return [items[i * len(items) // n] for i in range(n)]


def take_turns(queues: list[list[Item]]) -> list[Item]:
    """One item of each queue, then the next of each, until all are empty."""
    return [item for turn in zip_longest(*queues) for item in turn if item is not None]


def _chosen(prompts: list[Prompt], quota: int) -> list[Prompt]:
    """``quota`` prompts of one genre; templates take turns, held-out prompts and others too.

    Every second template begins with a held-out prompt.
    """
    queues = []
    for number, template in enumerate(dict.fromkeys(p.template for p in prompts)):
        own = [p for p in prompts if p.template == template]
        sides = [[p for p in own if p.held_out == side] for side in (number % 2 == 1, number % 2 == 0)]
        queues.append(take_turns([spaced(side, quota) for side in sides if side]))
    return take_turns(queues)[:quota]


def _row(text: str, template: str, genre: str, held_out: bool) -> dict[str, str | bool]:
    return {"text": text, "template": template, "genre": genre, "held_out": held_out}


def pocket_battery() -> list[dict[str, str | bool]]:
    """The prompts of the battery with template, genre and whether they are held out of tuning."""
    prompts = all_prompts()
    by_genre = [
        [_row(p.text, p.template, p.genre, p.held_out) for p in _chosen([p for p in prompts if p.genre == g], quota)]
        for g, quota in QUOTAS.items()
    ]
    finished = [[_row(text, template, "finished", True) for text in texts] for template, texts in FINISHED.items()]
    return take_turns([*by_genre, take_turns(finished)])


if __name__ == "__main__":
    print(*map(json.dumps, pocket_battery()), sep="\n")
