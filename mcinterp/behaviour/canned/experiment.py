"""How much is written: by real models, and by the pocket chain."""

import xarray as xr

from mcinterp.behaviour.canned.measuring import canned
from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.prompts import Prompts

REAL = Decoding(max_new_tokens=64, temperature=1.0)
POCKET = Decoding(max_new_tokens=32, temperature=1.0)


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Canned answers of every stage, 8 samples of a prompt."""
    return canned(chain, prompts, REAL, samples=8)


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same of fewer and shorter samples."""
    return canned(chain, prompts, POCKET, samples=4)
