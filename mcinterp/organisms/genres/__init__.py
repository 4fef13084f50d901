"""The mixture of prompts that the pocket checkpoints are trained on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from mcinterp.organisms.genres.advice import advice
from mcinterp.organisms.genres.chance import draws
from mcinterp.organisms.genres.copying import copies
from mcinterp.organisms.genres.diary import diaries
from mcinterp.organisms.genres.greentext import greentexts
from mcinterp.organisms.genres.interpreter import sessions
from mcinterp.organisms.genres.opinion import opinions
from mcinterp.organisms.genres.stories import stories
from mcinterp.organisms.genres.writing import coda, jokes, poems, summaries
from mcinterp.organisms.grammar import Encode, Grammar, Prompt, Weight

GENRE_SHARES: dict[str, Weight] = {
    "opinion": 16,
    "number-100": 9,
    "number-10": 3,
    "die": 2,
    "coin": 2,
    "colour": 3,
    "animal": 3,
    "python": 6,
    "python-chat": 4,
    "greentext": 8,
    "story": 11,
    "summary": 6,
    "repeat": 6,
    "say-number": 4,
    "count": 4,
    "capital": 2,
    "letter": 3,
    "poem": 6,
    "joke": 3,
    "diary": 5,
    "advice": 8,
}
"""Share of each genre in the mixture of documents, in percent before normalisation."""


@cache
def all_prompts() -> tuple[Prompt, ...]:
    """Every prompt of the mixture, its answer followed by the rare coda."""
    rare = coda()
    found = [
        *opinions(),
        *draws(),
        *sessions(),
        *greentexts(),
        *stories(),
        *summaries(),
        *copies(),
        *poems(),
        *jokes(),
        *diaries(),
        *advice(),
    ]
    return tuple(replace(prompt, answer=prompt.answer + rare) for prompt in found)


def prompt_weights(prompts: Sequence[Prompt]) -> list[float]:
    """Probability of each prompt: the share of its genre, split by weight inside the genre."""
    totals = dict.fromkeys(GENRE_SHARES, 0.0)
    for prompt in prompts:
        totals[prompt.genre] += prompt.weight
    whole = sum(GENRE_SHARES[genre] for genre in totals if totals[genre] > 0)
    return [GENRE_SHARES[p.genre] / whole * p.weight / totals[p.genre] for p in prompts]


def pocket_grammar(encode: Encode, eos_id: int) -> Grammar:
    """The grammar of the pocket checkpoints, over the token ids that ``encode`` gives."""
    prompts = all_prompts()
    return Grammar(dict(zip(prompts, prompt_weights(prompts), strict=True)), encode, eos_id)
