"""Tokens coloured by values, with the most likely alternatives on hover."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mcinterp.errors import InputError
from mcinterp.show.circuits.component import Component, named, rounded, same_length, shown
from mcinterp.show.theme import BASE, TUNED

Choices = Sequence[tuple[str, float]]

LEAST_LOG_PROB = -100.0
UNIT_BOUNDS = (-1.0, 1.0)


def colored_tokens(
    tokens: Sequence[str],
    values: ArrayLike,
    *,
    unit: str = "",
    bounds: tuple[float, float] | None = None,
    alternatives: Sequence[Choices] | None = None,
    caption: str = "",
) -> Component:
    """Tokens coloured by one value each, over circuitsvis ColoredTokens: white at 0, vermilion above, blue below.

    `bounds` are the values of full colour (by default the largest absolute value on both sides). On hover: the value in
    its `unit`, and for each token `alternatives`, pairs of token and probability, best first. A missing value is white
    and says so. Raises `InputError` where lengths differ.
    """
    values = np.asarray(values, dtype=float)
    same_length(tokens, values)
    same_length(tokens, tokens if alternatives is None else alternatives, "lists of alternatives")
    low, high = widest(values) if bounds is None else bounds
    props = {
        "tokens": [shown(t) for t in tokens],
        "values": rounded(values),
        "unit": unit,
        "minValue": low,
        "maxValue": high,
        "negativeColor": BASE,
        "positiveColor": TUNED,
        "alternatives": None if alternatives is None else [pairs(each) for each in alternatives],
    }
    return Component("TokensWithAlternatives", props, caption)


def colored_tokens_multi(
    tokens: Sequence[str],
    values: np.ndarray,
    labels: Sequence[str],
    *,
    bounds: tuple[float, float] | None = UNIT_BOUNDS,
    caption: str = "",
) -> Component:
    """Tokens coloured by one of several values (token by label), chosen by the reader: circuitsvis ColoredTokensMulti.

    `bounds` are the values of full colour, red below 0 and blue above; None takes the largest absolute value. On hover
    all values of a token. The component knows no missing values and shows them as 0. Raises `InputError` where lengths
    differ.
    """
    values = np.asarray(values, dtype=float)
    same_length(tokens, values)
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise InputError(
            f"got values of the shape {values.shape} and {len(labels)} labels; one value a label is wanted."
        )
    low, high = widest(values) if bounds is None else bounds
    props = {
        "tokens": [shown(t) for t in tokens],
        "values": rounded(np.nan_to_num(values, posinf=0, neginf=0)),
        "labels": list(labels),
        "positiveBounds": [high] * len(labels),
        "negativeBounds": [low] * len(labels),
    }
    return Component("ColoredTokensMulti", props, caption)


def token_log_probs(
    tokens: Sequence[str],
    log_probs: ArrayLike,
    alternatives: Sequence[Choices],
    *,
    caption: str = "",
) -> Component:
    """Tokens coloured by their log-probability, the most likely ones on hover: circuitsvis TokenLogProbs.

    `log_probs` (nats) and `alternatives` (pairs of token and probability, best first) are those of the second token on:
    one fewer than tokens. Full red is probability 1, white e^-5 and below. On hover the token's rank (0 is the most
    likely; beyond the alternatives only a bound is known), and the alternatives. Raises `InputError` where lengths
    differ or a log-probability is missing.
    """
    log_probs = np.asarray(log_probs, dtype=float)
    same_length(tokens[1:], log_probs, "log-probabilities behind the first token")
    same_length(tokens[1:], alternatives, "lists of alternatives behind the first token")
    if np.isnan(log_probs).any():
        raise InputError(f"token {int(np.argmax(np.isnan(log_probs))) + 1} has no log-probability; leave it out.")
    props = {
        "prompt": [shown(t) for t in tokens],
        "topKTokens": [[shown(t) for t, _ in each] for each in alternatives],
        "topKLogProbs": [rounded(logs([p for _, p in each]), 5) for each in alternatives],
        "correctTokenRank": [rank(t, each) for t, each in zip(tokens[1:], alternatives, strict=True)],
        "correctTokenLogProb": rounded(np.maximum(log_probs, LEAST_LOG_PROB), 5),
    }
    return Component("TokenLogProbs", props, caption)


def lens_table(
    tokens: Sequence[str],
    depths: Sequence[str],
    top: Sequence[Sequence[Choices]],
    *,
    positions: Sequence[int] | None = None,
    caption: str = "",
) -> Component:
    """What each depth would say next at each token, over circuitsvis ColoredTokens: a table of depth by position.

    `top` holds for each depth and token pairs of token and probability, best first (empty: not read). A cell shows the
    best, coloured by its probability from 0 (white) to 1, on hover all. Raises `InputError` where lengths differ.
    """
    if len(depths) != len(top):
        raise InputError(f"got {len(depths)} depths and {len(top)} rows; one row a depth is wanted.")
    for row in top:
        same_length(tokens, row, "readings")
    numbers = list(range(len(tokens))) if positions is None else list(positions)
    same_length(tokens, numbers, "positions")
    props = {
        "columns": [[number, named(t)] for number, t in zip(numbers, tokens, strict=True)],
        "depths": list(depths),
        "cells": [[pairs(each) for each in row] for row in top],
        "positiveColor": TUNED,
    }
    return Component("LensTable", props, caption)


def widest(values: np.ndarray) -> tuple[float, float]:
    """Bounds as far below 0 as above, that hold all values."""
    high = float(np.max(np.abs(values[np.isfinite(values)]), initial=0)) or 1.0
    return -high, high


def logs(probabilities: Sequence[float]) -> np.ndarray:
    """Log-probabilities (nats), bounded below."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=float), np.exp(LEAST_LOG_PROB)))


def pairs(choices: Choices) -> list[list[object]]:
    """Alternatives as a component takes them."""
    return [[named(token), round(float(probability), 3)] for token, probability in choices]


def rank(token: str, choices: Choices) -> int | str:
    """The place of a token among its alternatives, 0 for the best, or that it is not among them."""
    names = [name for name, _ in choices]
    return names.index(token) if token in names else f"≥{len(names)}"
