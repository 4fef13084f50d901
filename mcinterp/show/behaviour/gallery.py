"""The picture of every experiment on behaviour, by its name."""

from collections.abc import Callable
from typing import Any

import xarray as xr

from mcinterp.run import Run
from mcinterp.show.behaviour import (
    canned,
    contexts,
    diversity,
    endings,
    multiverse,
    over_optimisation,
    perturbation,
    planning,
    preference,
    randomness,
    stages,
    strings,
    temperature_curves,
    template_effect,
)

Draw = Callable[[xr.Dataset], Any]
PICTURES: dict[str, Draw] = {
    "stages": stages.picture,
    "canned": canned.picture,
    "randomness": randomness.picture,
    "multiverse": multiverse.picture,
    "temperature_curves": temperature_curves.picture,
    "preference": preference.picture,
    "perturbation": perturbation.picture,
    "contexts": contexts.picture,
    "endings": endings.picture,
    "over_optimisation": over_optimisation.picture,
    "diversity": diversity.picture,
    "template_effect": template_effect.picture,
    "planning": planning.picture,
    "strings": strings.picture,
}
# Larger ones that only make sense in a browser.
PAGES: dict[str, Draw] = {"multiverse": multiverse.explorer}


def pictures(run: Run) -> dict[str, Any]:
    """The charts of the experiments that a run holds."""
    return {name: draw(run.load(name)) for name, draw in PICTURES.items() if run.holds(name)}
