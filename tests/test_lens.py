"""The logit lens against plain loops, an identical pair, and itself in other batches."""

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import AutoModelForCausalLM

from conftest import SHAPES, Build
from mcinterp.capture import residual_points
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.landmarks import final_distribution
from mcinterp.lens import common_lens, logit_lens, own_lens
from mcinterp.prompts import Prompts
from mcinterp.results import provenance_of, token_text
from mcinterp.sequences import Sequences, teacher_force

TEXTS = ["Are bugs real?", "one", ">be me\n", "Pick a number:"]
DIFFERENCES = ("kl_stage_to_base", "kl_base_to_stage", "js_stage_base")


def sequences_of(chain: Chain, texts: list[str] = TEXTS, steps: int = 6) -> Sequences:
    """Prompts and the tuned stage's greedy completions."""
    return teacher_force(chain, chain.render(Prompts.from_texts(texts)), Decoding(steps))


@pytest.fixture(scope="module")
def lens(chain: Chain) -> xr.Dataset:
    """The lens of the tiny chain."""
    return logit_lens(chain, sequences_of(chain))


@pytest.mark.parametrize("architecture", SHAPES)
def test_the_last_layer_is_the_models_distribution(tiny: Build, architecture: str) -> None:
    pair = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")))
    sequences = sequences_of(pair)
    final = final_distribution(logit_lens(pair, sequences))
    for s, stage in enumerate(("base", "tuned")):
        plain = AutoModelForCausalLM.from_pretrained(tiny(architecture, stage), attn_implementation="eager")
        for index, ids in enumerate(sequences.ids):
            with torch.inference_mode():
                logs = plain(torch.tensor([ids])).logits[0].log_softmax(-1)
            at = final.isel(stage=s, prompt=index).sel(position=sequences.relative(index))
            expected = torch.distributions.Categorical(logits=logs)
            np.testing.assert_allclose(at["entropy"], expected.entropy(), atol=1e-4)
            np.testing.assert_allclose(at["top_probability"][:, 0], logs.exp().max(-1).values, atol=1e-5)
            np.testing.assert_allclose(
                at["next_log_prob"][:-1], logs[:-1].gather(-1, torch.tensor(ids)[1:, None])[:, 0], atol=1e-4
            )


def test_every_layer_is_the_plain_reading_of_its_residual(pair: Chain) -> None:
    sequences = sequences_of(pair)
    lens = logit_lens(pair, sequences)
    ids = sequences.ids[0]
    with torch.inference_mode():
        _, cache = pair.tuned.bridge.run_with_cache(torch.tensor([ids]))
    for layer, site in residual_points(pair.tuned):
        residual = cache[f"blocks.{layer}.hook_{site}"][0]
        for name, reader in (("own", pair.tuned), ("common", pair.base)):
            with torch.inference_mode():
                logits = reader.bridge.unembed(reader.bridge.ln_final(residual))
            expected = torch.distributions.Categorical(logits=logits).entropy()
            mine = (
                lens["entropy"]
                .sel(lens=name, layer=layer, site=site)
                .isel(stage=1, prompt=0)
                .sel(position=sequences.relative(0))
            )
            np.testing.assert_allclose(mine, expected, atol=1e-4)


def test_divergences_between_stages_match_torch_distributions(pair: Chain) -> None:
    sequences = sequences_of(pair)
    last = final_distribution(logit_lens(pair, sequences)).isel(stage=1, prompt=1).sel(position=0)
    with torch.inference_mode():
        ids = torch.tensor([sequences.prompts.token_ids[1]])
        base, tuned = (torch.distributions.Categorical(logits=stage.bridge(ids)[0, -1]) for stage in pair.stages)
    assert float(last["kl_stage_to_base"]) == pytest.approx(
        float(torch.distributions.kl_divergence(tuned, base)), abs=1e-5
    )
    assert float(last["kl_base_to_stage"]) == pytest.approx(
        float(torch.distributions.kl_divergence(base, tuned)), abs=1e-5
    )


def test_an_identical_pair_gives_exact_zeros(identical: Chain) -> None:
    lens = logit_lens(identical, sequences_of(identical))
    for name in DIFFERENCES:
        values = lens[name].values
        assert np.nanmax(np.abs(values)) == (0.0 if name != "js_stage_base" else pytest.approx(0.0, abs=1e-6))
    np.testing.assert_array_equal(lens["entropy"].isel(stage=0), lens["entropy"].isel(stage=1))
    np.testing.assert_array_equal(lens["top_token"].sel(lens="own"), lens["top_token"].sel(lens="common"))


def test_the_base_reads_the_same_through_own_and_common_lens_and_a_tuned_one_does_not(lens: xr.Dataset) -> None:
    own, common = lens["entropy"].sel(lens="own"), lens["entropy"].sel(lens="common")
    np.testing.assert_array_equal(own.isel(stage=0), common.isel(stage=0))
    assert float(abs(own.isel(stage=1) - common.isel(stage=1)).max()) > 1e-3


def test_one_prompt_is_the_same_alone_and_in_a_ragged_batch(chain: Chain, lens: xr.Dataset) -> None:
    for index, text in enumerate(TEXTS):
        alone = logit_lens(chain, sequences_of(chain, [text])).isel(prompt=0)
        beside = lens.isel(prompt=index).sel(position=alone["position"])
        for name in ("entropy", "attractor_log_prob", "attractor_log_odds", "kl_final_to_lens", "top_probability"):
            np.testing.assert_allclose(beside[name], alone[name], atol=2e-4)


def test_a_small_budget_gives_the_same_numbers(chain: Chain, lens: xr.Dataset) -> None:
    tight = logit_lens(chain, sequences_of(chain), max_bytes=1)
    for name in lens.data_vars:
        np.testing.assert_allclose(tight[name], lens[name], atol=1e-5, rtol=1e-5)


def test_resid_post_is_the_next_layers_resid_pre(lens: xr.Dataset) -> None:
    post = lens["entropy"].sel(site="resid_post").isel(layer=slice(None, -1)).values
    np.testing.assert_array_equal(post, lens["entropy"].sel(site="resid_pre").isel(layer=slice(1, None)).values)


def test_missing_cells_are_exactly_those_without_a_token(lens: xr.Dataset) -> None:
    present = lens["token_id"].values >= 0
    entropy = lens["entropy"].isel(lens=0, stage=0, layer=0).sel(site="resid_mid").values
    np.testing.assert_array_equal(np.isfinite(entropy), present)
    assert present.sum() < present.size


def test_parallel_blocks_have_no_middle(tiny: Build) -> None:
    pair = load_pair(str(tiny("gpt_neox")), str(tiny("gpt_neox", "tuned")))
    lens = logit_lens(pair, sequences_of(pair))
    assert bool(lens["entropy"].sel(site="resid_mid").isnull().all())
    assert bool(lens["entropy"].sel(site="resid_post", position=0).notnull().all())


def test_attractor_is_the_last_stages_choice_or_the_one_named(chain: Chain, lens: xr.Dataset) -> None:
    final = final_distribution(lens).sel(position=0)
    np.testing.assert_array_equal(lens["attractor"].sel(position=0), final["top_token"].isel(stage=-1, choice=0))
    np.testing.assert_array_equal(final["attractor_rank"].isel(stage=-1), 1)
    named = final_distribution(logit_lens(chain, sequences_of(chain), attractor=7)).sel(position=0)
    assert bool((named["attractor"] == 7).all())
    rank = named["attractor_rank"].isel(stage=0).values
    assert rank.min() > 0


@pytest.mark.parametrize(("positions", "kept"), [("last", {0}), ("prompt", {-1, 0}), ("completion", {0, 1, 2})])
def test_only_the_wanted_positions_are_read(pair: Chain, positions: str, kept: set[int]) -> None:
    sequences = sequences_of(pair, ["ab"], steps=2)
    lens = logit_lens(pair, sequences, positions=positions)
    entropy = lens["entropy"].isel(lens=0, stage=0, prompt=0, layer=0).sel(site="resid_mid")
    assert set(lens["position"].values[np.isfinite(entropy.values)].tolist()) == kept


def test_strings_units_and_provenance_come_along(pair: Chain) -> None:
    sequences = sequences_of(pair)
    lens = logit_lens(pair, sequences, lenses=[own_lens(pair), common_lens(pair)])
    assert lens["entropy"].attrs["units"] == "nats"
    assert provenance_of(lens)["token_ids_sha256"] == sequences.hash
    assert [c["name"] for c in provenance_of(lens)["checkpoints"]] == list(pair.names)
    assert "".join(lens["token"].isel(prompt=0).values).startswith(TEXTS[0])
    assert token_text(lens)[int(lens["attractor"].sel(position=0)[0])]
