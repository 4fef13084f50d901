"""What a probe is asked for: tokens some steps ahead, how the line ends, and which texts it is trained on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

LINE_END = "line end"
BREAKS = (".", "!", "?", "\n", ".\n", '."', '!"', '?"')
NEAREST = 2


def ahead_names(ahead: Sequence[int]) -> list[str]:
    """Labels of the targets: steps ahead, then the end of the line."""
    return [*map(str, ahead), LINE_END]


def targets_of(
    prompt_length: int, ids: Sequence[int], tokens: Sequence[str], ahead: Sequence[int]
) -> Int[np.ndarray, "column target"]:
    """Token ids that lie ahead of every written place: the last prompt token, then every written one; -1 for none.

    `ids` and `tokens` are of the whole text. The last target is the last token with a letter or figure of the next line
    or sentence, asked for where the one before has just ended, and only if it is `NEAREST` or more tokens away.
    """
    places = range(prompt_length - 1, len(ids))
    found = np.full((len(places), len(ahead) + 1), -1, dtype=np.int64)
    for row, place in enumerate(places):
        for column, steps in enumerate(ahead):
            if place + steps < len(ids):
                found[row, column] = ids[place + steps]
    for start, end in lines(prompt_length, tokens):
        if end - start >= NEAREST:
            found[start - prompt_length + 1, -1] = ids[end]
    return found


def lines(prompt_length: int, tokens: Sequence[str]) -> list[tuple[int, int]]:
    """The place before every written line or sentence that has an end, and that of its last token that is a word."""
    found, start, word = [], prompt_length - 1, None
    for place in range(prompt_length, len(tokens)):
        ends = tokens[place].rstrip(" ").endswith(BREAKS)
        if any(c.isalnum() for c in tokens[place]):
            word = place
        if ends and word is not None:
            found.append((start, word))
        if ends:
            start, word = place, None
    return found


def halves(templates: Sequence[str], genres: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The half that every prompt belongs to, and the prompts kept apart in either half to choose the probe's settings.

    Whole templates: those of a genre go to the halves in turn, and so do a half's to the part kept apart. Where all
    prompts of a half are of one template, every other prompt is kept apart.
    """
    order: dict[str, dict[str, int]] = {}
    for genre, template in zip(genres, templates, strict=True):
        order.setdefault(genre, {}).setdefault(template, 0)
    flat = [template for named in order.values() for template in named]
    half = {template: n % 2 for n, template in enumerate(dict.fromkeys(flat))}
    second = {template: (n // 2) % 2 == 1 for n, template in enumerate(dict.fromkeys(flat))}
    folds = np.asarray([half[template] for template in templates])
    apart = np.asarray([second[template] for template in templates])
    for fold in (0, 1):
        here = np.flatnonzero(folds == fold).tolist()
        if len({templates[n] for n in here}) == 1:
            apart[here] = np.arange(len(here)) % 2 == 1
    return folds, apart
