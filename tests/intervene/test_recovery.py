"""Stitched models, interaction, identical pairs, and recovery at its ends."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from patching_reference import BARE, NATS, activations, encoded, tiny_pair
from transformers import AutoModelForCausalLM

import mcinterp
from conftest import Build, save_checkpoint
from mcinterp.chain import Chain, load_pair
from mcinterp.intervene.recovery import LEAST_DIFFERENCE

TEXTS = ["Are bugs real?", "abc", "Pick a number:"]
STITCHED = ["llama", "gemma2", "olmo2", "granite", "cohere"]


def stitched(below: Path, above: Path, layer: int, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of a Hugging Face model with the embedding and lower layers of another one."""
    low, model = (AutoModelForCausalLM.from_pretrained(each, attn_implementation="eager") for each in (below, above))
    model.model.embed_tokens = copy.deepcopy(low.model.embed_tokens)
    for number in range(layer):
        model.model.layers[number] = low.model.layers[number]
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)


def entropy(logs: torch.Tensor) -> float:
    return float(torch.distributions.Categorical(logits=logs).entropy())


@pytest.mark.parametrize("architecture", STITCHED)
def test_the_whole_residual_stream_at_a_layer_is_a_stitched_model(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    base, tuned = tiny(architecture), tiny(architecture, "tuned")
    result = mcinterp.patch(pair, TEXTS[:2], sites=["resid_pre"], positions="all", controls=False)
    for prompt, text in enumerate(TEXTS[:2]):
        ids = encoded(pair, text)
        for layer in range(3):
            bt, tb = stitched(base, tuned, layer, ids), stitched(tuned, base, layer, ids)
            cell = result["entropy"].isel(prompt=prompt, site=0).sel(layer=layer)
            assert float(cell.sel(direction="base_to_tuned")) == pytest.approx(entropy(bt), abs=1e-4)
            assert float(cell.sel(direction="tuned_to_base")) == pytest.approx(entropy(tb), abs=1e-4)
            ends = [entropy(stitched(each, each, 0, ids)) for each in (tuned, base)]
            found = result["entropy_interaction"].isel(prompt=prompt, pair=0).sel(layer=layer)
            assert float(found) == pytest.approx(sum(ends) - entropy(bt) - entropy(tb), abs=2e-4)


def test_an_identical_pair_shows_no_effect_and_no_recovery(identical: Chain) -> None:
    # Patched tokens stand in other rows of the matrix products than clean ones, so results agree to the rounding of
    # float32 log-probabilities of some 4 nats (5e-7), not bit for bit.
    result = mcinterp.patch(identical, TEXTS, positions="each")
    for name in ("kl_to_recipient", "kl_to_donor"):
        assert float(abs(result[name]).max()) < 1e-6
    for name in NATS[:3]:
        assert float(abs(result[name] - result[f"{name}_recipient"]).max()) < 1e-5
        assert float(abs(result[f"{name}_interaction"]).max()) < 1e-5
        np.testing.assert_allclose(result[f"{name}_recipient"], result[f"{name}_donor"], atol=1e-5)
        assert np.isnan(result[f"{name}_recovery"]).all()
        said = result[f"{name}_recovery_missing"].values.flatten().tolist()
        assert all(each.startswith("the ends differ by") and each.endswith("less than 0.1") for each in said)
    shuffled = result["kl_to_recipient_control"].sel(control="shuffled", layer=2, position=0)
    assert float(shuffled.max()) > 1e-3


def test_recovery_is_the_share_of_the_way_and_missing_where_there_is_none(pair: Chain) -> None:
    result = mcinterp.patch(pair, TEXTS, attractor=7, read_at=0, **BARE)
    for name in (*NATS[:3], "kl_to_donor"):
        patched, donor, recipient = (result[f"{name}{end}"] for end in ("", "_donor", "_recipient"))
        gap = donor - recipient
        share = ((patched - recipient) / gap).where(abs(gap) >= LEAST_DIFFERENCE).transpose(*patched.dims)
        np.testing.assert_allclose(result[f"{name}_recovery"], share, atol=1e-4, rtol=1e-4)
        missing = abs(gap) < LEAST_DIFFERENCE
        said = result[f"{name}_recovery_missing"]
        np.testing.assert_array_equal(said != "", missing)
    assert bool((abs(result["entropy_donor"] - result["entropy_recipient"]) < LEAST_DIFFERENCE).any())
    assert bool((abs(result["attractor_log_odds_donor"] - result["attractor_log_odds_recipient"]) >= 0.1).any())
    assert not [name for name in result if str(name).startswith(("kl_to_recipient_recovery", "top_token_recovery"))]


def test_the_last_residual_is_read_by_the_recipients_own_readout(pair: Chain) -> None:
    result = mcinterp.patch(pair, TEXTS, sites=["resid_post"], layers=2, **BARE)
    for prompt, text in enumerate(TEXTS):
        residual = activations(pair.base, encoded(pair, text))["blocks.2.hook_resid_post"]
        with torch.inference_mode():
            logs = pair.tuned.bridge.unembed(pair.tuned.bridge.ln_final(residual))[0, -1].log_softmax(-1)
        cell = result["entropy"].isel(prompt=prompt, site=0, layer=0).sel(direction="base_to_tuned")
        assert float(cell) == pytest.approx(entropy(logs), abs=1e-4)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A pair that differs in its blocks but shares the final norm and the unembedding."""
    root = tmp_path_factory.mktemp("shared")
    base, tuned = save_checkpoint(root / "base", "llama", seed=0), save_checkpoint(root / "tuned", "llama", seed=5)
    models = [AutoModelForCausalLM.from_pretrained(folder) for folder in (base, tuned)]
    models[1].model.norm = models[0].model.norm
    models[1].lm_head = models[0].lm_head
    models[1].save_pretrained(tuned)
    return load_pair(str(base), str(tuned), names=["base", "tuned"])


def test_recovery_is_one_and_zero_at_the_ends_of_a_pair_that_reads_alike(shared: Chain) -> None:
    whole = mcinterp.patch(shared, TEXTS, sites=["resid_post"], layers=2, **BARE)
    before = mcinterp.patch(shared, TEXTS, sites=["resid_post"], layers=2, positions=-1, **BARE)
    checked = 0
    for name in (*NATS[:3], "kl_to_donor"):
        there = whole[f"{name}_recovery_missing"].values == ""
        checked += int(there.sum())
        for result, share in ((whole, 1.0), (before, 0.0)):
            np.testing.assert_allclose(result[f"{name}_recovery"].squeeze().values[there], share, atol=1e-4)
    assert checked >= 12
    assert float(whole["kl_to_donor"].max()) < 1e-6
    np.testing.assert_array_equal(whole["top_token"].squeeze(), whole["top_token_donor"])


def test_a_held_patch_of_the_last_residual_makes_the_recipient_follow_the_donor(shared: Chain) -> None:
    result = mcinterp.generate_patched(
        shared, TEXTS, sites=["resid_post"], layers=2, decoding=mcinterp.Decoding(8), controls=False
    )
    for direction, other in (("base_to_tuned", "tuned_to_base"), ("tuned_to_base", "base_to_tuned")):
        followed = result["token_id"].sel(direction=direction).isel(site=0, layer=0)
        np.testing.assert_array_equal(followed, result["token_id_recipient"].sel(direction=other))
    assert bool(result["left_at"].notnull().any())
