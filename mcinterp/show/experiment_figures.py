"""Pictures of the experiments on behaviour and of their parts, each by the name of its analysis.

Three rooms are opened when they are first drawn from, since what they summarise by needs torch.
"""

from typing import Any

import xarray as xr

from mcinterp.show.behaviour import canned as of_canned
from mcinterp.show.behaviour import contexts as of_contexts
from mcinterp.show.behaviour import diversity as of_diversity
from mcinterp.show.behaviour import endings as of_endings
from mcinterp.show.behaviour import multiverse as of_multiverse
from mcinterp.show.behaviour import over_optimisation as of_over_optimisation
from mcinterp.show.behaviour import perturbation as of_perturbation
from mcinterp.show.behaviour import planning as of_planning
from mcinterp.show.behaviour import randomness as of_randomness
from mcinterp.show.behaviour import stages as of_stages
from mcinterp.show.behaviour import template_effect as of_template_effect

canned = of_canned.picture
contexts = of_contexts.picture
diversity = of_diversity.picture
endings = of_endings.picture
multiverse = of_multiverse.picture
over_optimisation = of_over_optimisation.picture
perturbation = of_perturbation.picture
planning = of_planning.picture
randomness = of_randomness.picture
stages = of_stages.picture
template_effect = of_template_effect.picture
precedent = of_contexts.precedent_picture
planning_probe, planning_patch = of_planning.probe_picture, of_planning.patch_picture
earlier_draws, template_keys = of_randomness.earlier_picture, of_template_effect.keys_picture


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
