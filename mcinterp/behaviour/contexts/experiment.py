"""All of it in one dataset: gaps with what foretells them, precedents, and conditioning on many raters."""

import xarray as xr

from mcinterp.behaviour.contexts.gaps import contexts
from mcinterp.behaviour.contexts.precedent import precedent, raters
from mcinterp.behaviour.contexts.prediction import predict_gap
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts
from mcinterp.results import together


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Gaps with predictions, precedents and raters."""
    parts = [predict_gap(contexts(chain, prompts)), precedent(chain, prompts), raters(chain, prompts)]
    return together(parts, "contexts")
