"""The direction between two stages against a plain computation."""

import numpy as np
import pytest
import torch

from conftest import Build
from mcinterp.chain import Chain, load_pair
from mcinterp.direction.attractor import attractor_direction
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts
from mcinterp.results import provenance_of

TEXTS = ["Are bugs real?", "one", "Pick a number:"]
HOOKS = {"resid_post": "blocks.1.hook_out", "mlp_out": "blocks.1.hook_mlp_out", "resid_pre": "blocks.1.hook_in"}


@pytest.mark.parametrize("site", HOOKS)
@pytest.mark.parametrize("at", ["last", "all"])
def test_a_direction_is_the_mean_difference(pair: Chain, site: str, at: str) -> None:
    found = attractor_direction(pair, TEXTS, layer=1, site=site, at=at)
    ends, finals = [], []
    for stage in pair.stages:
        with torch.inference_mode():
            runs = [stage.bridge.run_with_cache(torch.tensor([pair.base.tokenizer(text).input_ids])) for text in TEXTS]
        values = [cache[HOOKS[site]][0] for _, cache in runs]
        ends.append(torch.stack([each[-1] if at == "last" else each.mean(dim=0) for each in values]))
        finals.append([logits[0, -1] for logits, _ in runs])
    each = (ends[1] - ends[0]).numpy()
    vector = each.mean(axis=0)
    np.testing.assert_allclose(found["direction_vector"], vector, atol=1e-5)
    np.testing.assert_allclose(found["residual_donor"], ends[1], atol=1e-5)
    assert float(found["direction_norm"]) == pytest.approx(float(np.linalg.norm(vector)), rel=1e-5)
    tokens = [int(logits.argmax()) for logits in finals[1]]
    assert found["attractor"].values.tolist() == tokens
    weight = pair.tuned.bridge.unembed.original_component.weight.detach().numpy()
    rows = (weight - weight.mean(axis=0)) * pair.tuned.bridge.ln_final.original_component.weight.detach().numpy()
    for prompt, token in enumerate(tokens):
        other = np.delete(each, prompt, axis=0).mean(axis=0)
        assert float(found["cosine_to_readout"][prompt]) == pytest.approx(cosine(vector, rows[token]), abs=1e-5)
        assert float(found["cosine_to_direction"][prompt]) == pytest.approx(cosine(each[prompt], other), abs=1e-5)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """The cosine of two vectors."""
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def test_stages_can_be_named_and_opposite_ways_are_opposite(chain: Chain) -> None:
    forth = attractor_direction(chain, TEXTS, layer=0, donor="tuned", recipient="later")
    back = attractor_direction(chain, TEXTS, layer=0, donor="later", recipient="tuned", attractor=5)
    np.testing.assert_array_equal(forth["direction_vector"], -back["direction_vector"])
    assert (forth.attrs["donor"], forth.attrs["recipient"]) == ("tuned", "later")
    assert bool((back["attractor"] == 5).all())
    assert provenance_of(forth)["layer"] == 0


def test_an_identical_pair_has_no_direction(identical: Chain) -> None:
    found = attractor_direction(identical, TEXTS, layer=1)
    assert bool((found["direction_vector"] == 0).all())
    assert bool(found["cosine_to_readout"].isnull().all())


def test_bad_places_are_refused(pair: Chain, tiny: Build) -> None:
    with pytest.raises(InputError, match="layer 3 was asked for and the model has layers 0 to 2"):
        attractor_direction(pair, TEXTS, layer=3)
    with pytest.raises(InputError, match="site 'z' has no direction in the residual stream"):
        attractor_direction(pair, TEXTS, layer=1, site="z")
    with pytest.raises(InputError, match="no stage is named 'first'"):
        attractor_direction(pair, TEXTS, layer=1, recipient="first")
    with pytest.raises(InputError, match="attractor 99 is no token id"):
        attractor_direction(pair, Prompts.from_texts(TEXTS), layer=1, attractor=99)
    neox = load_pair(str(tiny("gpt_neox")), str(tiny("gpt_neox", "tuned")))
    with pytest.raises(InputError, match="has no site 'resid_mid'"):
        attractor_direction(neox, TEXTS, layer=1, site="resid_mid")
