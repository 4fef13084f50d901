"""What is put in the place of an activation: another run's, its own, a mean, zero, or a random one as far away."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from mcinterp.intervene.plan import Kind
from mcinterp.intervene.sites import SITES

Rows = Float[torch.Tensor, "token ..."]


class Draw(NamedTuple):
    """What fixes the random direction of one edited token, whatever batch it runs in."""

    seed: int
    sequence: int
    site: str
    layer: int
    column: int
    part: tuple[int, ...] | None

    def direction(self, shape: Sequence[int], used: int) -> np.ndarray:
        """A standard normal array, zero beyond `used` entries of the last axis."""
        site = list(SITES).index(self.site)
        first = -1 if self.part is None else self.part[0]
        random = np.random.default_rng((self.seed, self.sequence, site, self.layer, self.column, first + 1))
        array = np.zeros(tuple(shape), dtype=np.float32)
        array[..., :used] = random.standard_normal((*shape[:-1], used), dtype=np.float32)
        return array


def replacement(kind: Kind, own: Rows, donor: Rows | None, draws: Sequence[Draw], *, random: bool = False) -> Rows:
    """The new activations of some tokens, from their own and the donor's.

    With `random` it is the own activation plus a random direction as long as the step to the new one, so it moves the
    run as far, but nowhere in particular.
    """
    new = own if kind == "noop" else torch.zeros_like(own) if kind == "zero" else donor
    assert new is not None, f"a donor of kind {kind!r} has no activations"
    if not random:
        return new
    used = [draw.column + 1 if SITES[draw.site].axis == "pattern" else own.shape[-1] for draw in draws]
    directions = np.stack([draw.direction(own.shape[1:], u) for draw, u in zip(draws, used, strict=True)])
    return moved(own, new, torch.from_numpy(directions).to(own.device))


def moved(own: Rows, target: Rows, direction: Rows) -> Rows:
    """Own activations plus a step in a direction, as long as the one to a target; token by token, none along zero."""
    unit = torch.nn.functional.normalize(direction.flatten(1)).view_as(direction)
    return own + (unit * norm(target.float() - own.float())).to(own.dtype)


def norm(rows: Rows) -> Rows:
    """The Euclidean norm of each token's activation, kept broadcastable."""
    return rows.flatten(1).norm(dim=1).view(-1, *[1] * (rows.ndim - 1))
