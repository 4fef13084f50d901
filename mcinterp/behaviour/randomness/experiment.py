"""All of it in one dataset: every distribution, alone and after an earlier draw."""

import xarray as xr

from mcinterp.behaviour.randomness.draws import randomness
from mcinterp.behaviour.randomness.history import earlier_draws, with_earlier_draws
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Every stage's exact distribution over every support, alone and after one earlier draw."""
    return with_earlier_draws(randomness(chain, prompts), earlier_draws(chain, prompts))
