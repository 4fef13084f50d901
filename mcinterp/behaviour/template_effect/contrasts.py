"""The effects of a 2 x 2 design: weights {base, tuned} by rendering {raw, chat}. Pure maths."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Cells = Float[np.ndarray, "*rest 2 2"]
Effect = Float[np.ndarray, "*rest"]


class Contrasts(NamedTuple):
    """Main effects and interaction, in the unit of the measure."""

    weights: Effect
    template: Effect
    interaction: Effect


def contrasts(cells: Cells) -> Contrasts:
    """Effects of cells with the axes weights (base, tuned) and rendering (raw, chat) last.

    `weights` is tuned minus base, mean over renderings; `template` is chat minus raw, mean over weights; `interaction`
    what the template does to the tuned weights beyond what it does to the base's. So the tuned weights on chat are
    the base's on raw + weights + template, whatever the interaction.
    """
    raw, chat = cells[..., 1, 0] - cells[..., 0, 0], cells[..., 1, 1] - cells[..., 0, 1]
    base, tuned = cells[..., 0, 1] - cells[..., 0, 0], cells[..., 1, 1] - cells[..., 1, 0]
    return Contrasts((raw + chat) / 2, (base + tuned) / 2, chat - raw)
