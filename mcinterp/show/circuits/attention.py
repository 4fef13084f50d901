"""Attention patterns of one stage, and of two stages side by side with their difference."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.show.circuits.component import Component, chosen, named, rounded, same_length
from mcinterp.show.theme import BASE, TUNED

LEAST = 0.001
LONGEST = 16


def attention_heads(
    tokens: Sequence[str], attention: np.ndarray, names: Sequence[str], *, signed: bool = False, limit: float = 1.0
) -> Component:
    """Attention patterns (head by query by key, 0 to 1) as small maps, one shown in full: circuitsvis AttentionHeads.

    `signed` is for differences, tuned minus base, with a diverging scale from `-limit` (base more, blue) over 0
    (white) to `limit` (tuned more, vermilion). Missing cells stay white. Raises `InputError` where shapes do not fit.
    """
    attention = square(tokens, attention)
    if len(names) != len(attention):
        raise InputError(f"got {len(names)} names and {len(attention)} heads; one name a head is wanted.")
    scale = diverging(limit) if signed else {"minValue": 0, "maxValue": 1}
    props = {
        "tokens": [on_axis(t) for t in tokens],
        "attention": rounded(attention),
        "attentionHeadNames": list(names),
        "maskUpperTri": True,
        **scale,
    }
    return Component("AttentionHeads", props)


def attention_side_by_side(
    tokens: Sequence[str],
    base: np.ndarray,
    tuned: np.ndarray,
    names: Sequence[str],
    *,
    stages: Sequence[str] = ("base", "tuned"),
    limit: float | None = None,
) -> Component:
    """Each head's pattern in two stages (head by query by key, 0 to 1) and tuned minus base: AttentionPattern.

    The difference has one diverging scale for all heads, `-limit` to `limit`, by default the largest difference among
    them. Beside each head's name stands how far the stages differ, the total variation distance of a row (half the sum
    of absolute differences, 0 to 1), mean over queries; the head that differs most is open, others open on a click.
    Raises `InputError` where shapes do not fit.
    """
    base, tuned = square(tokens, base), square(tokens, tuned)
    if not len(base) == len(tuned) == len(names):
        raise InputError(f"got {len(base)} and {len(tuned)} heads and {len(names)} names; give the same heads of both.")
    gap = tuned - base
    distance = (abs(np.nan_to_num(gap)).sum(-1) / 2).mean(-1)
    ends = diverging(max(float(np.nanmax(abs(gap), initial=0)), LEAST) if limit is None else limit)
    panels = [
        {"title": stages[0], "minValue": 0, "maxValue": 1, "positiveColor": BASE},
        {"title": stages[1], "minValue": 0, "maxValue": 1, "positiveColor": TUNED},
        {"title": f"{stages[1]} − {stages[0]}, ±{ends['maxValue']:.2g}", **ends},
    ]
    heads = [
        {"name": name, "note": f"distance {far:.3f}", "patterns": rounded([b, t, d])}
        for name, far, b, t, d in zip(names, distance, base, tuned, gap, strict=True)
    ]
    props = {
        "tokens": [on_axis(t) for t in tokens], "heads": heads, "panels": panels, "open": int(np.argmax(distance)),
    }  # fmt: skip
    return Component("AttentionSideBySide", props)


def attention_of(attention: xr.Dataset, prompt: int, stage: str, layer: int) -> Component:
    """All heads of one layer of one stage on one prompt of `attention_patterns`.

    Raises `InputError` for a prompt, stage or layer that is not there.
    """
    tokens, pattern = of_stage(attention, prompt, stage, layer)
    return attention_heads(tokens, pattern, head_names(layer, pattern))


def attention_difference(
    attention: xr.Dataset, prompt: int, layer: int, *, stages: tuple[str, str] | None = None, limit: float = 1.0
) -> Component:
    """All heads of one layer, one stage minus another (by default the last minus the first), from -1 to 1.

    `limit` narrows the scale. Raises `InputError` for a prompt, stage or layer that is not there.
    """
    first, last = ends_of(attention, stages)
    tokens, base = of_stage(attention, prompt, first, layer)
    pattern = of_stage(attention, prompt, last, layer)[1] - base
    return attention_heads(tokens, pattern, head_names(layer, pattern), signed=True, limit=limit)


def attention_compared(
    attention: xr.Dataset,
    prompt: int,
    layer: int,
    *,
    stages: tuple[str, str] | None = None,
    heads: Sequence[int] | None = None,
) -> Component:
    """Heads of one layer (all by default) side by side in two stages, by `attention_side_by_side`.

    `stages` are the first and the last by default. Raises `InputError` for what is not there.
    """
    first, last = ends_of(attention, stages)
    tokens, base = of_stage(attention, prompt, first, layer)
    _, tuned = of_stage(attention, prompt, last, layer)
    kept = list(range(len(base))) if heads is None else list(heads)
    if not kept or not set(kept) <= set(range(len(base))):
        raise InputError(f"got heads {kept}; layer {layer} has the heads 0 to {len(base) - 1}.")
    names = [f"L{layer}H{head}" for head in kept]
    return attention_side_by_side(tokens, base[kept], tuned[kept], names, stages=(first, last))


def of_stage(attention: xr.Dataset, prompt: int, stage: str, layer: int) -> tuple[list[str], np.ndarray]:
    """The tokens of a prompt and the patterns of a layer's heads on them."""
    one = chosen(attention, ["attention", "n_tokens", "token"], prompt=prompt, stage=stage, layer=layer)
    size = int(one["n_tokens"])
    return one["token"].values[:size].tolist(), one["attention"].values[:, :size, :size]


def ends_of(attention: xr.Dataset, stages: tuple[str, str] | None) -> tuple[str, str]:
    """The two stages to compare, the first and the last unless named."""
    names = attention["stage"].values.tolist()
    return stages or (names[0], names[-1])


def head_names(layer: int, pattern: np.ndarray) -> list[str]:
    """L3H0, L3H1, ..."""
    return [f"L{layer}H{head}" for head in range(len(pattern))]


def on_axis(token: str) -> str:
    """A token as an axis has room for: its beginning."""
    return named(token if len(token) <= LONGEST else token[: LONGEST - 1] + "…")


def diverging(limit: float) -> dict[str, object]:
    """A scale of signed values: base more is blue, tuned more vermilion."""
    if not limit > 0:
        raise InputError(f"got the limit {limit} for a signed scale; a number above 0 is wanted.")
    return {"minValue": -limit, "maxValue": limit, "negativeColor": BASE, "positiveColor": TUNED}


def square(tokens: Sequence[str], attention: np.ndarray) -> np.ndarray:
    """Patterns as an array, refusing what is not head by token by token."""
    attention = np.asarray(attention, dtype=float)
    if attention.ndim != 3 or attention.shape[1] != attention.shape[2] or not len(attention):
        raise InputError(f"got attention of the shape {attention.shape}; head by query by key is wanted.")
    same_length(tokens, attention[0])
    return attention
