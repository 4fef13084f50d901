"""How much is sampled; for the pocket checkpoints, whose grammar is known, calibration beside it."""

import xarray as xr

from mcinterp.behaviour.strings.calibration import calibration
from mcinterp.behaviour.strings.tasks import Reading, strings
from mcinterp.chain import Chain
from mcinterp.organisms.pocket import grammar_of
from mcinterp.prompts import Prompts
from mcinterp.results import together

REAL = Reading(samples=16, max_new_tokens=256)
POCKET = Reading(samples=8, max_new_tokens=88)


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Modal strings, form and endings of every task and stage."""
    return strings(chain, prompts, REAL)


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same of fewer and shorter samples, with the calibration against the grammar."""
    exact = calibration(chain, prompts, grammar_of(chain.tuned.tokenizer), documents=4)
    return together([strings(chain, prompts, POCKET), exact], "strings")
