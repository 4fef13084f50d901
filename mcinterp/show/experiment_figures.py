"""Pictures of the experiments on behaviour and of their parts, each by the name of its analysis.

Three rooms are opened when they are first drawn from, since what they summarise by needs torch.
"""

from typing import Any

import xarray as xr

from mcinterp.show.behaviour.canned import picture as canned
from mcinterp.show.behaviour.contexts import picture as contexts
from mcinterp.show.behaviour.contexts import precedent_picture as precedent
from mcinterp.show.behaviour.diversity import picture as diversity
from mcinterp.show.behaviour.endings import picture as endings
from mcinterp.show.behaviour.multiverse import picture as multiverse
from mcinterp.show.behaviour.over_optimisation import picture as over_optimisation
from mcinterp.show.behaviour.perturbation import picture as perturbation
from mcinterp.show.behaviour.planning import patch_picture as planning_patch
from mcinterp.show.behaviour.planning import picture as planning
from mcinterp.show.behaviour.planning import probe_picture as planning_probe
from mcinterp.show.behaviour.randomness import earlier_picture as earlier_draws
from mcinterp.show.behaviour.randomness import picture as randomness
from mcinterp.show.behaviour.stages import picture as stages
from mcinterp.show.behaviour.template_effect import keys_picture as template_keys
from mcinterp.show.behaviour.template_effect import picture as template_effect

__all__ = [
    "calibration",
    "canned",
    "contexts",
    "diversity",
    "earlier_draws",
    "endings",
    "multiverse",
    "over_optimisation",
    "perturbation",
    "planning",
    "planning_patch",
    "planning_probe",
    "precedent",
    "preference_order",
    "randomness",
    "sequence_tempering",
    "stages",
    "strings",
    "temperature_curves",
    "temperature_scopes",
    "template_effect",
    "template_keys",
    "validity_curves",
    "without_mode",
]


def preference_order(dataset: xr.Dataset) -> Any:
    """Whether tuning only sharpens the base's order of tokens or makes another; see `behaviour.preference.picture`."""
    from mcinterp.show.behaviour import preference

    return preference.picture(dataset)


def strings(dataset: xr.Dataset) -> Any:
    """The string that most outputs hold whatever the input, form and endings; see `behaviour.strings.picture`."""
    from mcinterp.show.behaviour import strings as of_strings

    return of_strings.picture(dataset)


def calibration(dataset: xr.Dataset) -> Any:
    """How right stages are by how sure they are (probability), and their calibration error with 95 % intervals."""
    from mcinterp.show.behaviour import strings as of_strings

    return of_strings.calibration_picture(dataset)


def temperature_curves(dataset: xr.Dataset) -> Any:
    """Whether a change is a temperature: all parts together; see `behaviour.temperature_curves.picture`."""
    from mcinterp.show.behaviour import temperature_curves as of_curves

    return of_curves.picture(dataset)


def validity_curves(dataset: xr.Dataset) -> Any:
    """Different texts and entropy (nats a token) against surprise under the base, one point a temperature."""
    return temperature_curves(dataset)


def temperature_scopes(dataset: xr.Dataset) -> Any:
    """The share of KL(stage || base) that one exponent explains, for all prompts, a prompt, or a token."""
    return temperature_curves(dataset)


def sequence_tempering(dataset: xr.Dataset) -> Any:
    """The regression's slopes beside the lines of tempered tokens and of tempered texts."""
    return temperature_curves(dataset)


def without_mode(dataset: xr.Dataset) -> Any:
    """What one token drawn without the mode costs: its surprise under the base (nats), by what the mode was."""
    return temperature_curves(dataset)
