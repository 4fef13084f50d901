"""Which disturbances, at which depths: for real models, and for the short documents of the pocket grammar."""

import xarray as xr

from mcinterp.behaviour.perturbation.edits import Insert, Perturbing, Swap
from mcinterp.behaviour.perturbation.perturbing import perturbation
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts

REAL = Perturbing(depths=(0.25, 0.5, 0.75), steps=64, samples=4)
POCKET = Perturbing((Swap(1), Swap(2), Insert(" I am not sure.")), depths=(0.35,), steps=32, samples=1)


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Disturbed and undisturbed completions of every stage, and of the base at the stage's entropy."""
    return perturbation(chain, prompts, REAL)


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same with fewer and shorter completions."""
    return perturbation(chain, prompts, POCKET)
