"""How much is sampled: from real models, and for the pocket grammar's short documents."""

import xarray as xr

from mcinterp.behaviour.diversity.measuring import diversity
from mcinterp.behaviour.diversity.settings import Sampling
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts

REAL = Sampling(samples=32, max_new_tokens=128, clusters=100)
POCKET = Sampling(samples=8, max_new_tokens=64, branching_samples=4)


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Every measure of diversity of every stage's samples."""
    return diversity(chain, prompts, REAL)


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same of fewer and shorter samples."""
    return diversity(chain, prompts, POCKET)
