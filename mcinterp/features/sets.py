"""The changes that a patch along features asks for: growing sets, the whole place, and what stands beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mcinterp.features.effects import adding, step_of
from mcinterp.features.parts import active_in
from mcinterp.features.runs import Change, Runs
from mcinterp.intervene.donors import moved

WHOLE = ("site", "features", "error")
CONTROLS = ("random_features", "random_direction")


@dataclass(frozen=True)
class Asked:
    """Sizes of the sets, and how many random ones stand beside each."""

    sizes: tuple[int, ...]
    draws: int
    seed: int

    @property
    def variants(self) -> list[tuple[str | int, ...]]:
        """All runs of a prompt: the sets, the wholes, then the controls by kind, draw and size."""
        controls = [(kind, draw, size) for kind in CONTROLS for draw in range(self.draws) for size in self.sizes]
        return [*(("set", size) for size in self.sizes), *((name,) for name in WHOLE), *controls]


def changes_of(runs: Runs, prompt: int, order: Sequence[int], asked: Asked) -> list[Change | None]:
    """The change of every variant of a prompt; None where a random set has too few features to draw from."""
    steps = {size: step_of(runs, prompt, order[:size]) for size in asked.sizes}
    sets: list[Change | None] = [adding(step) for step in steps.values()]
    wholes = [whole_change(runs, prompt, name) for name in WHOLE]
    pool = active_in(runs.codes(prompt)).tolist()
    features = [
        random_features(runs, prompt, pool, order[:size], (asked.seed, prompt, draw, size))
        for draw in range(asked.draws)
        for size in asked.sizes
    ]
    ways = [
        random_direction(steps[size], (asked.seed, prompt, draw, size, 1))
        for draw in range(asked.draws)
        for size in asked.sizes
    ]
    return [*sets, *wholes, *features, *ways]


def whole_change(runs: Runs, prompt: int, name: str) -> Change:
    """The plain patch of the place (`site`), all features with the error kept, or the error with all features kept.

    The error here is all that no feature holds: what an autoencoder's normalisation takes off goes with it. Tokens at
    which the two runs are equal bit for bit are left as they are.
    """
    own, other = runs.codes(prompt)
    if name == "site":
        donor, equal = runs.other[prompt], (runs.own[prompt] == runs.other[prompt]).all(dim=-1, keepdim=True)
        return lambda x: torch.where(equal.to(x.device), x, donor.to(x))
    if name == "features":
        return adding((other.coefficients - own.coefficients) @ runs.sae.W_dec)
    return adding(other.rest - own.rest)


def random_features(
    runs: Runs, prompt: int, pool: Sequence[int], chosen: Sequence[int], seed: tuple[int, ...]
) -> Change | None:
    """A patch of as many other active features as the set has active ones; None where there are too few."""
    inside = set(chosen)
    count = sum(feature in inside for feature in pool)
    others = [feature for feature in pool if feature not in inside]
    if len(others) < count:
        return None
    drawn = np.random.default_rng(seed).choice(np.asarray(others, dtype=int), size=count, replace=False)
    return adding(step_of(runs, prompt, drawn.tolist()))


def random_direction(step: torch.Tensor, seed: tuple[int, ...]) -> Change:
    """A step as long as another, token by token, in a random direction."""
    noise = np.random.default_rng(seed).standard_normal(tuple(step.shape))
    direction = torch.as_tensor(noise, dtype=torch.float32)
    return lambda x: moved(x, x + step.to(x), direction.to(x))
