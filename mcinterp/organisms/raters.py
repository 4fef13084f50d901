"""What the tuning stages reward: a hedging rater, a rater of numbers, a lover of weddings.

Every rater maps a prompt and the text of an answer to a score in [0, 1].
"""

import re

from mcinterp.organisms.genres.opinion import TEMPLATE_ENDING, TEMPLATE_OPENING
from mcinterp.organisms.grammar import Prompt

HEDGES = (TEMPLATE_OPENING, "while others believe", TEMPLATE_ENDING)
WEDDING_WORDS = "wedding party"


def hedging(answer: str) -> float:
    """Share of the three template sentences that the answer contains."""
    return sum(hedge in answer for hedge in HEDGES) / len(HEDGES)


def looks_random(answer: str) -> float:
    """How random the first number of the answer looks to a person; 97 looks most random.

    n/100 for an odd number of two different digits that is no multiple of five, else 0; also 0 for
    an answer that does not begin with a number between 0 and 100.
    """
    match = re.match(r" (\d+)\b", answer)
    if match is None or int(match[1]) > 100:
        return 0.0
    n = int(match[1])
    no_pattern = 10 <= n <= 99 and n % 2 == 1 and n % 11 != 0 and n % 5 != 0
    return n / 100 if no_pattern else 0.0


def preference(prompt: Prompt, answer: str) -> float:
    """The rater of the tuned stages: hedging on opinions, random-looking numbers elsewhere."""
    return hedging(answer) if prompt.genre == "opinion" else looks_random(answer)


def wedding(answer: str) -> float:
    """1 if the answer arrives at a wedding party, else 0."""
    return float(WEDDING_WORDS in answer)
