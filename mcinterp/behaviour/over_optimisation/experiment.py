"""How much is sampled and what is rewarded: of real checkpoints, and for the pocket grammar's wedding parties."""

import xarray as xr

from mcinterp.behaviour.over_optimisation.following import over_optimisation
from mcinterp.behaviour.over_optimisation.rewards import grammatical, positive_mood, weddings
from mcinterp.behaviour.over_optimisation.settings import Following
from mcinterp.chain import Chain
from mcinterp.organisms.genres.writing import CODA_BREAK
from mcinterp.organisms.pocket import grammar_of
from mcinterp.prompts import Prompts

REAL = Following(max_new_tokens=160)
POCKET = Following(samples=5, max_new_tokens=80, clusters=20, documents=1, behind_tokens=24, separator=CODA_BREAK)


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """A run followed with positive mood as its reward; other rewards and a gold by `over_optimisation`."""
    return over_optimisation(chain, prompts, REAL, reward=positive_mood)


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same with wedding parties as the reward, and what the grammar allows as the gold."""
    return over_optimisation(
        chain, prompts, POCKET, reward=weddings, gold=grammatical(grammar_of(chain.tuned.tokenizer))
    )
