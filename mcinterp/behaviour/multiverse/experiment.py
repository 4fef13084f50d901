"""How far the trees are grown."""

import xarray as xr

from mcinterp.behaviour.multiverse.growing import Growth
from mcinterp.behaviour.multiverse.trees import multiverse
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Every stage's exact probabilities over the union of all trees."""
    return multiverse(chain, prompts, Growth(least=0.01, depth=32))
