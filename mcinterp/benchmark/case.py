"""What a method of localisation is asked, what it answers, and the register of methods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import xarray as xr

from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.lens import logit_lens
from mcinterp.sequences import Sequences
from mcinterp.weights.groups import Group, groups_of

METRIC = "attractor_log_odds"
Scores = dict[str, float]


@dataclass(frozen=True)
class Case:
    """Where is the collapse between two stages on some prompts: in which component, or in which head?

    Everything is read after the prompts, where the followed token is the tuned stage's most likely one.
    """

    chain: Chain
    sequences: Sequences
    by: str = "component"

    @cached_property
    def groups(self) -> list[Group]:
        """The groups of weights that are told apart, in the order of computation: every answer scores each of them."""
        return groups_of(self.chain.base, self.by)

    @property
    def components(self) -> list[str]:
        """Their names."""
        return [group.name for group in self.groups]

    @cached_property
    def lens(self) -> xr.Dataset:
        """Both stages read after the prompts, by their own and by the base's readout."""
        return logit_lens(self.chain, self.sequences, positions="last")

    def scores(self, found: Mapping[str, float]) -> Scores:
        """A score for every group: zero where a method found nothing."""
        return {name: float(found.get(name, 0.0)) for name in self.components}

    def scores_of_components(self, found: Mapping[str, float]) -> Scores:
        """The same for a method that tells no heads apart: each head has the score of its attention."""
        whole = {group.name: f"{group.layer}.attn" for group in self.groups if is_head(group)}
        heads = {name: found[attention] for name, attention in whole.items() if attention in found}
        return self.scores({name: value for name, value in found.items() if name not in whole.values()} | heads)


def is_head(group: Group) -> bool:
    """Whether a group is one query head."""
    return group.site == "attn" and group.head is not None


@dataclass(frozen=True)
class Answer:
    """A score for every component, larger the likelier it is the place; a verdict and `upstream` where one is given."""

    scores: Scores
    verdict: str | None = None
    upstream: bool | None = None


class Method(NamedTuple):
    """A method under the name that tables print."""

    name: str
    answer: Callable[[Case], Answer]


METHODS: dict[str, Method] = {}
"""All registered methods by name, in the order of tables."""


def method(name: str) -> Callable[[Callable[[Case], Answer]], Callable[[Case], Answer]]:
    """Register a function as a method of localisation.

    Worker processes find it by the module that it is defined in. Raises `InputError` where the name is taken, or holds
    a comma (lists of methods are written with commas).
    """

    def register(answer: Callable[[Case], Answer]) -> Callable[[Case], Answer]:
        if name in METHODS or "," in name:
            why = "is registered already" if name in METHODS else "holds a comma"
            raise InputError(f"the method name {name!r} {why}; give another name.")
        METHODS[name] = Method(name, answer)
        return answer

    return register


def chosen_methods(names: Sequence[str] | None = None) -> list[Method]:
    """Methods by name (all of them for None); `InputError` for an unknown name, listing the known ones."""
    unknown = [name for name in names or () if name not in METHODS]
    if unknown or (names is not None and not names):
        given = repr(unknown[0]) if unknown else "no method"
        raise InputError(f"got {given} for a method; give some of {', '.join(METHODS)}.")
    return [found for name, found in METHODS.items() if names is None or name in names]


def towards_collapse(moved: xr.Dataset, direction: str) -> xr.DataArray:
    """Mean change that a direction's cells make to the recipient's log-odds, signed so that the collapse is up."""
    effect = (moved[METRIC] - moved[f"{METRIC}_recipient"]).sel(direction=direction, drop=True).mean("prompt")
    return effect if direction == "tuned_to_base" else -effect
