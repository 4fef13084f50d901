"""Which opening is canned: tokens that many samples of a stage begin with, whatever was asked, and the base's do not.

Token tuples in, values out; nothing here runs a model.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

NEARLY, LEAST_ODDS = 0.9, 1e-6
ENDS = (".", "!", "?", "\n")
Tokens = tuple[int, ...]
Samples = Sequence[Sequence[Tokens]]


def without_formatting(text: Tokens, strings: Callable[[int], str]) -> Tokens:
    """The tokens behind the white space that a text begins with."""
    start = next((place for place, token in enumerate(text) if strings(token).strip()), len(text))
    return text[start:]


def shares(samples: Samples, longest: int) -> dict[Tokens, float]:
    """For every beginning of at most `longest` tokens the share of samples that have it, mean over prompts."""
    found: dict[Tokens, float] = defaultdict(float)
    for texts in samples:
        for text in texts:
            for size in range(min(longest, len(text)) + 1):
                found[text[:size]] += 1 / (len(texts) * len(samples))
    return found


def canned_opening(
    base: Samples, tuned: Samples, decode: Callable[[Tokens], str], longest: int = 24
) -> tuple[Tokens, float]:
    """The opening that gains most from base to tuned samples, and its gain; no token where nothing gains.

    From the likeliest first token on, the next token is taken that gains most, as long as the gain stays above nine
    tenths of the first token's, and up to the end of a sentence.
    """
    before, after = (shares(samples, longest) for samples in (base, tuned))
    gains = {tokens: share - before.get(tokens, 0.0) for tokens, share in after.items()}
    opening: Tokens = ()
    least = 0.0
    while not (opening and decode(opening).endswith(ENDS)):
        longer = [tokens for tokens in gains if len(tokens) == len(opening) + 1 and tokens[:-1] == opening]
        best = max(longer, key=lambda tokens: gains[tokens], default=None)
        if best is None or gains[best] <= least:
            break
        opening, least = best, least or NEARLY * gains[best]
    return opening, gains[opening] if opening else 0.0


def log_odds(log_prob: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of log p (nats), 1 - p at least a millionth: float32 knows no more of it."""
    given = np.minimum(log_prob.astype(float), 0.0)
    return given - np.log(np.maximum(-np.expm1(given), LEAST_ODDS))
