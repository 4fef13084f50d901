"""The picture of every experiment on behaviour, by its name."""

from collections.abc import Callable
from typing import Any

import xarray as xr

from mcinterp.run import Run
from mcinterp.show.behaviour import contexts, perturbation, preference, randomness, stages, template_effect

PICTURES: dict[str, Callable[[xr.Dataset], Any]] = {
    "stages": stages.picture,
    "contexts": contexts.picture,
    "randomness": randomness.picture,
    "preference": preference.picture,
    "perturbation": perturbation.picture,
    "template_effect": template_effect.picture,
}


def pictures(run: Run) -> dict[str, Any]:
    """The charts of the experiments that a run holds."""
    return {name: draw(run.load(name)) for name, draw in PICTURES.items() if run.holds(name)}
