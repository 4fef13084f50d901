"""Both halves in one dataset: what the residuals say of the tokens ahead, and what they make of them."""

import xarray as xr

from mcinterp.behaviour.planning.patching import patches
from mcinterp.behaviour.planning.probing import probes
from mcinterp.behaviour.planning.settings import Planning
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts
from mcinterp.results import together

REAL = Planning()
POCKET = Planning(samples=1, steps=24, classes=64, layers=6, matched_on=3)


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Probes and patches of every stage beside the base."""
    return planning(chain, prompts, REAL)


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same on fewer and shorter texts."""
    return planning(chain, prompts, POCKET)


def planning(chain: Chain, prompts: Prompts, settings: Planning) -> xr.Dataset:
    """Probes and patches, over the same prompts and layers."""
    return together([probes(chain, prompts, settings), patches(chain, prompts, settings)], "planning")
