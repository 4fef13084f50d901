"""All of it in one dataset: curves, exponents by scope, the test of whole texts, and the mode removed."""

import xarray as xr

from mcinterp.behaviour.temperature_curves.mode import without_mode
from mcinterp.behaviour.temperature_curves.rollouts import Branching, sequence_tempering_test
from mcinterp.behaviour.temperature_curves.scopes import temperature_scopes
from mcinterp.behaviour.temperature_curves.validity import pocket_judge, validity_curves
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts
from mcinterp.results import together


def experiment(chain: Chain, prompts: Prompts, *, samples: int = 8, steps: int = 64) -> xr.Dataset:
    """The four parts, with `samples` a prompt and temperature of `steps` tokens at most."""
    judge = pocket_judge(chain)
    branching = Branching(prefixes=2, samples=4 * samples, horizon=steps // 2, reach=steps // 2)
    parts = [
        validity_curves(chain, prompts, samples=samples, steps=steps, grammatical=judge),
        temperature_scopes(chain, prompts, steps=steps),
        sequence_tempering_test(chain, prompts, branching),
        without_mode(chain, prompts, samples=samples, steps=steps // 2, grammatical=judge),
    ]
    return together(parts, "temperature_curves")


def on_pocket(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """The same with fewer and shorter samples."""
    return experiment(chain, prompts, samples=2, steps=24)
