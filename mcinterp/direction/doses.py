"""What steering asks for: the doses of a direction, and what each does to an activation."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from mcinterp.errors import InputError

STEERED = {"add": "recipient", "ablate": "donor", "replace": "donor"}
ENDS = {"recipient": "donor", "donor": "recipient"}

Vector = Float[torch.Tensor, "d_model"]
Rows = Float[torch.Tensor, "token d_model"]


class Variant(NamedTuple):
    """One steered run: its place in the result, what is done, how much of it, and along which direction."""

    place: tuple[int, int, int]
    operation: str
    coefficient: float


@dataclass(frozen=True)
class Along:
    """What a prompt is steered with: the directions, the given one first, and the recipient's mean residual."""

    vectors: Float[torch.Tensor, "control d_model"]
    recipient: Vector

    def edited(self, x: Rows, variant: Variant) -> Rows:
        """x + c v (`add`), x - c (x . u) u (`ablate`), x - c ((x - m) . u) u (`replace`), with u = v / |v|.

        m is the recipient's mean residual, so that `replace` moves the component along v to the recipient's mean one.
        """
        v = self.vectors[variant.place[-1]].to(x)
        if variant.operation == "add":
            return x + variant.coefficient * v
        u = v / v.norm().clamp(min=1e-30)
        away = x if variant.operation == "ablate" else x - self.recipient.to(x)
        return x - variant.coefficient * (away @ u).unsqueeze(-1) * u


@dataclass(frozen=True)
class Steering:
    """What is asked for: a direction with its place, the doses, and the halves of templates that it is split into."""

    direction: xr.Dataset
    operations: tuple[str, ...]
    coefficients: tuple[float, ...]
    draws: int
    positions: str
    split: bool
    seed: int

    def variants(self, end: str) -> list[Variant]:
        """All runs of the stage at one end; taking out more than all of a component is left out."""
        return [
            Variant((o, c, control), operation, dose)
            for o, operation in enumerate(self.operations)
            for c, dose in enumerate(self.coefficients)
            for control in range(1 + self.draws)
            if STEERED[operation] == end and (operation == "add" or 0 <= dose <= 1)
        ]

    @cached_property
    def first_half(self) -> frozenset[str]:
        """Half of the direction's templates, drawn by the seed."""
        templates = sorted(set(self.direction["template"].values.tolist()))
        if self.split and len(templates) < 2:
            raise InputError(
                "the direction was estimated on one template, which cannot be split in halves; estimate it on more, or "
                "give split=False."
            )
        order = np.random.default_rng(self.seed).permutation(len(templates))
        return frozenset(templates[i] for i in order[: len(templates) // 2])

    def estimated_on(self, template: str) -> np.ndarray:
        """The direction's prompts that it is estimated on for a prompt of a template: those of the other half."""
        own = self.direction["template"].values
        if not self.split or template not in set(own.tolist()):
            return np.arange(len(own))
        first = np.asarray([each in self.first_half for each in own])
        return np.flatnonzero(first != (template in self.first_half))

    def along(self, template: str) -> Along:
        """The directions for a prompt of a template."""
        chosen = self.direction.isel(prompt=self.estimated_on(template))
        ends = {end: torch.as_tensor(chosen[f"residual_{end}"].values) for end in ENDS}
        vector = (ends["donor"] - ends["recipient"]).mean(dim=0)
        noise = np.random.default_rng((self.seed, 1)).standard_normal((self.draws, len(vector)))
        random = torch.as_tensor(noise, dtype=torch.float32)
        random = random / random.norm(dim=-1, keepdim=True) * vector.norm()
        return Along(torch.cat([vector.unsqueeze(0), random]), ends["recipient"].mean(dim=0))


def require_steering(asked: Steering) -> None:
    """Refuse doses, operations and positions that mean nothing."""
    unknown = [operation for operation in asked.operations if operation not in STEERED]
    if unknown or not asked.operations:
        raise InputError(f"got operations {list(asked.operations)}; give some of {', '.join(STEERED)}.")
    if not asked.coefficients or not np.isfinite(asked.coefficients).all():
        raise InputError(f"got coefficients {list(asked.coefficients)}; give at least one finite number.")
    if asked.positions not in ("last", "all"):
        raise InputError(f"positions {asked.positions!r} is unknown; give last or all.")
    if asked.draws < 1:
        raise InputError(f"{asked.draws} random directions were asked for; give 1 or more.")
    missing = [name for name in ("layer", "site", *ENDS) if name not in asked.direction.attrs]
    if missing:
        raise InputError(f"the direction does not say its {missing[0]}; give what attractor_direction returns.")
