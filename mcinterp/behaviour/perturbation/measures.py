"""How far an edited text is from the unedited one, when it is back, and where it ends: plain arrays and strings.

A continuation is compared with the unedited text from the edited place on. Its edit distance from the nearest beginning
of that text (unit costs; Levenshtein 1966, free end) grows by 0 or 1 with every token, so that its growth over a few
tokens says how far it is off the unedited track just there, whatever was lost before.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Ids = Sequence[int]
Steps = Float[np.ndarray, "row step"]

SENTENCE = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+|(?<=[。！？])|\n+")
COMPLETE = re.compile(r"[.!?。！？][\"')\]”’]*$")
FLOOR = 0.01
LONGEST_PERIOD, TIMES, LEAST_LOOP = 16, 3, 6


class Text(NamedTuple):
    """Token ids and whether they end with the end of the text, rather than where the steps ran out."""

    ids: tuple[int, ...]
    ended: bool


def padded(texts: Sequence[Ids], steps: int) -> Int[np.ndarray, "row step"]:
    """Token ids as one table, cut at `steps` and filled up with -1."""
    table = np.full((len(texts), steps), -1, dtype=np.int64)
    for row, ids in enumerate(texts):
        kept = ids[:steps]
        table[row, : len(kept)] = kept
    return table


def edit_distances(continuations: Sequence[Ids], unedited: Sequence[Ids], steps: int) -> Steps:
    """Edit distance, in tokens, of each continuation's first 1, ..., `steps` tokens from the text beside it.

    That is from the nearest beginning of the text: min over j of Levenshtein(continuation[:k], text[:j]). Missing
    behind the last token.
    """
    found = np.full((len(continuations), steps), np.nan)
    if not len(continuations):
        return found
    left = padded(continuations, steps)
    right = padded(unedited, max(1, *(len(ids) for ids in unedited)))
    columns = np.arange(right.shape[1] + 1)
    beyond = columns > np.asarray([len(ids) for ids in unedited])[:, None]
    line = np.broadcast_to(columns, beyond.shape)
    for step in range(steps):
        token = left[:, step, None]
        same = line[:, :-1] + (right != token)
        line = np.concatenate([line[:, :1] + 1, np.minimum(line[:, 1:] + 1, same)], axis=1)
        line = np.minimum.accumulate(line - columns, axis=1) + columns
        nearest = np.where(beyond, line.max() + 1, line).min(axis=1)
        found[:, step] = np.where(token[:, 0] >= 0, nearest, np.nan)
    return found


def local_distance(distances: Steps, window: int) -> Steps:
    """The share of the last `window` tokens that an edit distance grew by: 0 on the unedited track, 1 far from it."""
    start = np.zeros((len(distances), 1))
    whole = np.concatenate([start, distances], axis=1)
    lag = np.minimum(np.arange(1, whole.shape[1]), window)
    return (whole[:, 1:] - whole[:, np.arange(1, whole.shape[1]) - lag]) / lag


def after_the_end(distance: Steps, ended: Bool[np.ndarray, "row"], returned: Float[np.ndarray, "row"]) -> Steps:
    """The same, going on behind the end of a text: 0 where it had come back to the unedited one, 1 where it had not.

    So that every text that ended counts at every step, and those left at late steps are no selection. A text that was
    cut, or of which nothing says whether it is back, stays missing behind its last token.
    """
    filled = np.where(ended[:, None], 1.0 - returned[:, None], np.nan)
    return np.where(np.isnan(distance), filled, distance)


def return_step(continuation: Text, unedited: Text, least: int) -> float:
    """The first step from which the continuation is the unedited text again up to its end; infinite where it never is.

    0 where it never left. Texts that ended are aligned by their ends; of one that was cut, its last tokens must stand
    anywhere in the unedited text. Runs of fewer than `least` tokens are chance and count as none; missing where the
    unedited text itself has no more than that to come back to.
    """
    if len(unedited.ids) < least:
        return float("nan")
    if continuation.ended:
        shared = common_suffix(continuation.ids, unedited.ids) if unedited.ended else 0
    else:
        shared = longest_tail_inside(continuation.ids, unedited.ids)
    return float(len(continuation.ids) - shared) if shared >= least else float("inf")


def common_suffix(one: Ids, other: Ids) -> int:
    """Number of tokens that both end with."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def longest_tail_inside(tail: Ids, whole: Ids) -> int:
    """Tokens of the longest end of one text that stands, in order and together, somewhere in another."""
    return max((common_suffix(tail, whole[:stop]) for stop in range(1, len(whole) + 1)), default=0)


def is_loop(ids: Ids) -> bool:
    """Whether a text ends in a loop: a run of at most 16 tokens three times or more, six tokens at least in all."""
    for period in range(1, min(LONGEST_PERIOD, len(ids) // TIMES) + 1):
        size = max(TIMES * period, LEAST_LOOP)
        tail = tuple(ids[-size:])
        if len(tail) == size and tail[period:] == tail[:-period]:
            return True
    return False


def sentences(text: str, *, ended: bool) -> list[str]:
    """The sentences (or lines) of a text; of one that was cut, the complete ones."""
    pieces = [piece.strip() for piece in SENTENCE.split(text) if piece and piece.strip()]
    if pieces and not ended and not COMPLETE.search(pieces[-1]):
        return pieces[:-1]
    return pieces


def wholly_behind(whole: Sequence[str], behind: Sequence[str]) -> list[str]:
    """Of the sentences that a text has behind a place, those that do not begin before it."""
    if behind and list(whole[len(whole) - len(behind) :]) != list(behind):
        return list(behind[1:])
    return list(behind)


def effective_number(names: Sequence[str]) -> float:
    """exp(H) of how often each name stands in a list: as many equally common ones; missing for an empty list."""
    if not names:
        return float("nan")
    shares = np.asarray(list(Counter(names).values())) / len(names)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def contraction_rate(curve: Float[np.ndarray, "step"]) -> float:
    """Slope of log distance over steps, a token: least squares from the edit (distance 1) to the first step at 0.01.

    Below 0 an edit dies out, at 0 it does not; distances below 0.01 count as that. Missing without any distance.
    """
    known = np.concatenate([[1.0], curve[~np.isnan(curve)]])
    if len(known) < 2:
        return float("nan")
    low = np.flatnonzero(known <= FLOOR)
    kept = np.log(np.maximum(known[: low[0] + 1] if len(low) else known, FLOOR))
    steps = np.concatenate([[0], 1 + np.flatnonzero(~np.isnan(curve))])[: len(kept)]
    centred = steps - steps.mean()
    return float((centred * kept).sum() / (centred**2).sum())
