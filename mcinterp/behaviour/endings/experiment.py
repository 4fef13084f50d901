"""How much is written: by real models, and by the pocket chain."""

import xarray as xr

from mcinterp.behaviour.endings.measuring import endings
from mcinterp.behaviour.endings.places import Branched
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts

REAL = Branched()
POCKET = Branched(samples=5, kept=(0, 2, 4), length=64, nodes=100)


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Stories of every stage, branched along the base's story and the stage's own."""
    return endings(chain, prompts, REAL)


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same of fewer texts; late outcomes exact, as the grammar's stories are short."""
    return endings(chain, prompts, POCKET)
