"""What every feature has of the difference between two runs at an autoencoder's place: a sum that is exact.

With x = sum of c_f d_f + rest in each run, the difference is delta = sum of (c'_f - c_f) d_f + (rest' - rest), and
|delta|^2 = sum of (c'_f - c_f) (d_f . delta) + (rest' - rest) . delta: the parts of the features and of the rest, token
by token. A part may be negative; parts of features whose directions are not orthogonal share what they have in common.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int

from mcinterp.features.activations import Rows
from mcinterp.features.autoencoder import Code, SparseAutoencoder


class Parts(NamedTuple):
    """Sums over tokens, in squared units of the activations, float64; `features` are those active in either run."""

    features: Int[torch.Tensor, "active"]
    of_features: Float[torch.Tensor, "active"]
    of_rest: float
    whole: float


def parts_of(sae: SparseAutoencoder, own: Rows, other: Rows, codes: tuple[Code, Code]) -> Parts:
    """The parts of other minus own."""
    features = active_in(codes)
    directions = sae.W_dec[features].double().cpu()
    step = (codes[1].coefficients - codes[0].coefficients)[:, features].double().cpu()
    delta = other.double().cpu() - own.double().cpu()
    rest = delta - step @ directions
    along = (step * (delta @ directions.T)).sum(dim=0)
    return Parts(features, along, float((rest * delta).sum()), float(delta.pow(2).sum()))


def active_in(codes: tuple[Code, Code]) -> Int[torch.Tensor, "active"]:
    """The features that are active at any token of either run, in ascending order."""
    return torch.stack([(code.coefficients != 0).any(dim=0) for code in codes]).any(dim=0).nonzero().flatten().cpu()
