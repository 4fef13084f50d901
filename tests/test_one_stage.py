"""A chain of one stage: what compares refuses it in a sentence, what reads one model runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mcinterp
from conftest import Build
from mcinterp.chain import Chain
from mcinterp.errors import InputError

PROMPTS = mcinterp.Prompts.from_texts(["Are bugs real?", "yes or no"])
COMPARING: dict[str, Callable[[Chain], Any]] = {
    "update_attribution": lambda chain: mcinterp.update_attribution(chain, PROMPTS),
    "temperature_split": lambda chain: mcinterp.temperature_split(chain, PROMPTS),
    "entropy_split": lambda chain: mcinterp.entropy_split(chain, PROMPTS),
    "graft_shapley": lambda chain: mcinterp.graft_shapley(chain, PROMPTS),
    "interpolate": lambda chain: mcinterp.interpolate(chain, PROMPTS),
    "locate": lambda chain: mcinterp.locate(chain, PROMPTS),
    "attractor_direction": lambda chain: mcinterp.attractor_direction(chain, PROMPTS, layer=0),
    "onset": lambda chain: mcinterp.onset(lens(chain)),
    "landmark_positions": lambda chain: mcinterp.landmark_positions(lens(chain)),
}


def lens(chain: Chain) -> Any:
    return mcinterp.logit_lens(chain, mcinterp.teacher_force(chain, chain.render(PROMPTS), mcinterp.Decoding(2)))


@pytest.fixture(scope="module")
def alone(tiny: Build) -> Chain:
    pair = mcinterp.load_pair(str(tiny("llama")), str(tiny("llama")))
    return Chain(pair.stages[:1], pair.alignment)


@pytest.mark.parametrize("name", sorted(COMPARING))
def test_what_compares_refuses_one_stage(alone: Chain, name: str) -> None:
    with pytest.raises(InputError, match="one stage, which leaves nothing to compare"):
        COMPARING[name](alone)


def test_what_reads_one_model_runs(alone: Chain, identical: Chain) -> None:
    one, both = lens(alone), lens(identical)
    assert one.sizes["stage"] == 1
    np.testing.assert_array_equal(one["entropy"].sel(lens="own"), both["entropy"].sel(lens="own").isel(stage=[0]))
