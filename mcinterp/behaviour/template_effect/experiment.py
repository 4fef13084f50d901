"""All of it in one dataset: the cells of the design, and the template's key-values patched."""

import xarray as xr

from mcinterp.behaviour.template_effect.design import template_effect, template_keys
from mcinterp.chain import Chain
from mcinterp.prompts import Prompts
from mcinterp.results import together


def experiment(chain: Chain, prompts: Prompts) -> xr.Dataset:
    """Cells of the design and patched key-values."""
    return together([template_effect(chain, prompts), template_keys(chain, prompts)], "template_effect")
