"""The gate: whether there is a collapse at all, in absolute terms, on which prompts, and where it is read.

A share of a collapse means nothing where there is none (on checkpoints that drifted without collapsing, normalised
scores reach any size), so everything else waits for this answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.localisation.reading import read_ends
from mcinterp.localisation.thresholds import Thresholds
from mcinterp.rendering import RenderedPrompts, token_strings
from mcinterp.results import describe, with_provenance
from mcinterp.sequences import Sequences, provenance, teacher_force, with_completions
from mcinterp.statistics import bootstrap

PLACES = ("auto", "last", "divergence", "sequence")
SEQUENCE, COMPLETION = 8, 24


@dataclass(frozen=True)
class Gate:
    """Where a collapse is read and whether there is one.

    `sequences` are the collapsed prompts (all of them where it is not passed) and `reads` the positions that are read
    of them. `table` is over all prompts: `entropy_base`, `entropy_tuned`, `kl_tuned_to_base` (nats), `fall`,
    `position`, `followed`, `collapsed`. `tried` are the figures of every place that was looked at.
    """

    at: str
    passed: bool
    sequences: Sequences
    reads: tuple[int, ...]
    table: xr.Dataset
    tried: dict[str, dict[str, Any]]

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the place that was chosen."""
        return self.tried[self.at]


@dataclass(frozen=True)
class Place:
    """Prompts prepared to be read at one place, and what was read there."""

    at: str
    sequences: Sequences
    reads: tuple[int, ...]
    table: xr.Dataset


def gate(chain: Chain, rendered: RenderedPrompts, at: str = "auto", limits: Thresholds = Thresholds()) -> Gate:
    """Whether tuned has collapsed on some prompts, by absolute size: divergence from the base and loss of entropy.

    `at` is where it is read: `last`, the last prompt position; `divergence`, by prompt the first position of tuned's
    greedy completion with a large loss of entropy; `sequence`, the first 8 positions of that completion together;
    `auto` takes the last prompt position, unless there is no clear collapse there or its token is white space
    (formatting) and the divergence shows one. Raises `InputError` for another place.
    """
    if at not in PLACES:
        raise InputError(f"got {at!r} for where a collapse is read; give one of {', '.join(PLACES)}.")
    tried: dict[str, dict[str, Any]] = {}
    places: dict[str, Place] = {}
    for name in ("last", "divergence") if at == "auto" else (at,):
        places[name] = OPENED[name](chain, rendered, limits)
        tried[name] = figures_of(places[name].table, limits)
        if is_clear(tried[name]):
            break
    place = places[max(tried, key=lambda name: standing(tried[name]))]
    passed = tried[place.at]["passed"]
    chosen = np.flatnonzero(place.table["collapsed"].values) if passed else range(len(rendered))
    table = with_provenance(describe(place.table), analysis="gate", at=place.at, **provenance(chain, place.sequences))
    return Gate(place.at, passed, selected(place.sequences, chosen), place.reads, table, tried)


def is_clear(figures: dict[str, Any]) -> bool:
    """Whether a place shows a collapse that needs no other: in many prompts a strong one, of tokens with content."""
    return figures["passed"] and figures["formatting"] <= 0.5 and 3 * figures["n_strong"] >= figures["n_collapsed"]


def standing(figures: dict[str, Any]) -> tuple[bool, bool, int]:
    """Places in the order of preference: those that pass, those of tokens with content, those with more collapse."""
    return figures["passed"], figures["formatting"] <= 0.5, figures["n_strong"]


def selected(sequences: Sequences, indices: Any) -> Sequences:
    """Some of the sequences."""
    chosen = [int(i) for i in indices]
    return Sequences(
        sequences.prompts.select(chosen),
        tuple(sequences.completions[i] for i in chosen),
        tuple(sequences.completion_tokens[i] for i in chosen),
        sequences.written_by,
    )


def figures_of(table: xr.Dataset, limits: Thresholds, *, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Means over prompts, the interval of the loss over templates, how many prompts collapsed, and whether it passes.

    It passes where the mean loss, less what the same search finds with the stages swapped, is above zero and large, and
    tuned diverges from the base; or where at least three prompts lose half their entropy and a third as many gain it.
    """
    fall, rise = table["fall"].values.astype(float), table["rise"].values.astype(float)
    kl, base = float(table["kl_tuned_to_base"].mean()), float(table["entropy_base"].mean())
    net = bootstrap((fall - rise)[:, None], table["template"].values.tolist(), draws=draws, seed=seed)
    mean, low, high = (float(end[0]) for end in net)
    least = float(table.attrs["least_fall"])
    on_average = kl >= limits.kl and mean >= max(least, limits.share * base) and not low <= 0
    strong, risen = int(table["strong"].sum()), int(table["risen"].sum())
    collapsed = table["collapsed"].values.astype(bool)
    in_some = strong >= limits.strong and 3 * risen <= strong
    return {
        "passed": bool((on_average and collapsed.any()) or in_some),
        "n_prompts": int(table.sizes["prompt"]),
        "n_collapsed": int(collapsed.sum()),
        "n_strong": strong,
        "n_risen": risen,
        "kl_tuned_to_base": kl,
        "entropy_base": base,
        "entropy_tuned": float(table["entropy_tuned"].mean()),
        "entropy_fall": {"mean": mean, "ci_low": low, "ci_high": high},
        "formatting": float(table["formatting"].values[collapsed].mean()) if collapsed.any() else 0.0,
    }


def at_last(chain: Chain, rendered: RenderedPrompts, limits: Thresholds) -> Place:
    """The last prompt position."""
    sequences = with_completions(chain, rendered, [()] * len(rendered), "none")
    read = read_ends(chain, sequences, (0,)).isel(position=0, drop=True)
    return Place("last", sequences, (0,), judged_prompts(chain, read, limits, limits.fall))


def at_sequence(chain: Chain, rendered: RenderedPrompts, limits: Thresholds) -> Place:
    """The first positions of tuned's greedy completion together, from the last prompt position on."""
    sequences = teacher_force(chain, rendered, Decoding(SEQUENCE - 1))
    reads = tuple(range(1 + max(len(c) for c in sequences.completions)))
    read = read_ends(chain, sequences, reads)
    mean = read.drop_vars("top_token").mean("position", keep_attrs=True)
    mean["top_token"] = read["top_token"].isel(position=0, drop=True)
    return Place("sequence", sequences, reads, judged_prompts(chain, mean, limits, limits.fall))


def at_divergence(chain: Chain, rendered: RenderedPrompts, limits: Thresholds) -> Place:
    """By prompt, the first position of tuned's greedy completion where much entropy is lost.

    Choosing a position favours large losses, so the same search is made with the stages swapped, along the base's own
    completion, and what it finds is `rise`. Positions whose token is white space are passed over.
    """
    written = teacher_force(chain, rendered, Decoding(COMPLETION))
    own = read_all(chain, written)
    other = read_all(chain, teacher_force(chain, rendered, Decoding(COMPLETION), by=chain.base.name))
    fall = (own["entropy_base"] - own["entropy_tuned"]).where(~white(chain, own["top_token"]))
    widest = fall.max("position")
    large = fall >= np.maximum(limits.selected_fall, widest / 2)
    place = xr.where(large.any("position"), large.argmax("position"), 0)
    read = own.isel(position=place)
    read["rise"] = (other["entropy_tuned"] - other["entropy_base"]).max("position").clip(0)
    table = judged_prompts(chain, read, limits, limits.selected_fall)
    extended = [completion[: int(k)] for completion, k in zip(written.completions, place.values, strict=True)]
    prompts = extend(chain, rendered, extended)
    return Place("divergence", with_completions(chain, prompts, [()] * len(prompts), "none"), (0,), table)


def read_all(chain: Chain, sequences: Sequences) -> xr.Dataset:
    """Both stages along a completion, from the last prompt position on."""
    return read_ends(chain, sequences, range(1 + max(len(c) for c in sequences.completions)))


def extend(chain: Chain, rendered: RenderedPrompts, more: list[tuple[int, ...]]) -> RenderedPrompts:
    """The prompts with some tokens behind each, as if they belonged to it."""
    strings = [tuple(token_strings(chain.tuned.tokenizer, ids)) for ids in more]
    return RenderedPrompts(
        texts=rendered.texts,
        token_ids=tuple((*own, *new) for own, new in zip(rendered.token_ids, more, strict=True)),
        tokens=tuple((*own, *new) for own, new in zip(rendered.tokens, strings, strict=True)),
        prompt_index=rendered.prompt_index,
        renderings=rendered.renderings,
        templates=rendered.templates,
        frames=rendered.frames,
    )


def white(chain: Chain, tokens: xr.DataArray) -> xr.DataArray:
    """Which tokens are white space or nothing as text."""
    ids = np.unique(tokens.values)
    blank = [i for i, text in zip(ids, token_strings(chain.tuned.tokenizer, [max(0, int(i)) for i in ids]), strict=True)
             if i >= 0 and not text.strip()]  # fmt: skip
    return tokens.isin(blank)


def judged_prompts(chain: Chain, read: xr.Dataset, limits: Thresholds, least: float) -> xr.Dataset:
    """What was read of each prompt, and whether it collapsed: diverged from the base and lost entropy."""
    fall, kl = read["entropy_base"] - read["entropy_tuned"], read["kl_tuned_to_base"]
    table = read.assign(fall=fall)
    if "rise" not in table:
        table["rise"] = xr.zeros_like(fall)
        risen = (-fall >= np.maximum(limits.strong_fall, read["entropy_tuned"] / 2)) & (kl >= limits.kl)
    else:
        risen = table["rise"] >= limits.strong_fall
    table["collapsed"] = (kl >= limits.kl) & (fall >= least)
    table["strong"] = (kl >= limits.kl) & (fall >= np.maximum(limits.strong_fall, read["entropy_base"] / 2))
    table["risen"] = risen
    table["formatting"] = white(chain, read["top_token"])
    followed = token_strings(chain.tuned.tokenizer, [max(0, int(i)) for i in read["top_token"].values])
    return table.assign_coords(followed=("prompt", followed)).assign_attrs(least_fall=least)


OPENED: dict[str, Callable[[Chain, RenderedPrompts, Thresholds], Place]] = {
    "last": at_last,
    "divergence": at_divergence,
    "sequence": at_sequence,
}
