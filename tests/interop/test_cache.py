"""The logit lens of caches and hidden states: what `logit_lens` itself reads; what would read wrongly is refused."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import mcinterp
from interop.conftest import NAMES, TEXTS, bridge_of
from mcinterp.batching import Batch, pad
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.interop.hidden_states import logit_lens_of_hidden_states
from mcinterp.intervene.inputs import as_sequences
from mcinterp.landmarks import onset
from mcinterp.organisms import pocket_path
from mcinterp.results import provenance_of

Same = Callable[..., None]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def batch(loaded: Chain) -> Batch:
    """Three prompts of different lengths, padded on the right."""
    return pad(loaded.render(mcinterp.Prompts.from_texts(TEXTS)).token_ids)


@pytest.fixture(scope="module")
def wanted(loaded: Chain) -> xr.Dataset:
    """What the library reads of the same prompts."""
    return mcinterp.logit_lens(loaded, as_sequences(loaded, TEXTS))


def run(bridge: Any, batch: Batch, **options: Any) -> tuple[torch.Tensor, Any]:
    """Logits and cache of a batch."""
    with torch.no_grad():
        return bridge.run_with_cache(batch.tokens, attention_mask=batch.attention, **options)


def test_two_caches_give_the_lens_of_the_pair_bit_for_bit(
    bridges: dict[str, Any], batch: Batch, wanted: xr.Dataset, assert_same: Same
) -> None:
    ran = {name: run(bridge, batch) for name, bridge in bridges.items()}
    found = mcinterp.logit_lens_of_cache(
        {name: cache for name, (_, cache) in ran.items()},
        bridges,
        batch.tokens,
        attention_mask=batch.attention,
        logits={name: logits for name, (logits, _) in ran.items()},
    )
    assert_same(found, wanted, apart=("text",))
    assert provenance_of(found)["source"] == "ActivationCache"
    assert {"layer", "site"} <= set(onset(found).variables) | set(found.dims)


def test_one_cache_gives_the_lens_of_a_chain_of_one_and_knows_its_tokens(
    bridges: dict[str, Any], tokenizers: dict[str, Any], batch: Batch, assert_same: Same
) -> None:
    one = mcinterp.chain_from_models({"model": bridges["sft"]}, tokenizer=tokenizers["sft"])
    cache = run(bridges["sft"], batch)[1]
    found = mcinterp.logit_lens_of_cache(cache, bridges["sft"], attention_mask=batch.attention)
    assert_same(found, mcinterp.logit_lens(one, as_sequences(one, TEXTS)), apart=("text",))


def test_padding_on_the_left_completions_and_single_sequences_are_lined_up(
    bridges: dict[str, Any], loaded: Chain, batch: Batch, wanted: xr.Dataset, assert_same: Same
) -> None:
    sequences = as_sequences(loaded, TEXTS)
    left = pad(sequences.ids, side="left")
    caches = {name: run(bridge, left)[1] for name, bridge in bridges.items()}
    found = mcinterp.logit_lens_of_cache(caches, bridges, left.tokens, attention_mask=left.attention)
    assert np.array_equal(found["token_id"], wanted["token_id"])
    assert float(abs(found["entropy"] - wanted["entropy"]).max()) < TOLERANCE
    assert np.array_equal(found["entropy"].isnull(), wanted["entropy"].isnull())
    written = mcinterp.teacher_force(loaded, sequences.prompts.select([0]), mcinterp.Decoding(5))
    whole = torch.tensor(written.ids[0])
    single = {name: bridge.run_with_cache(whole[None], remove_batch_dim=True)[1] for name, bridge in bridges.items()}
    behind = mcinterp.logit_lens_of_cache(single, bridges, whole, prompt_lengths=[len(sequences.ids[0])])
    assert_same(behind, mcinterp.logit_lens(loaded, written), apart=("text",))


def test_a_cache_of_some_points_is_missing_elsewhere(bridges: dict[str, Any], batch: Batch, wanted: xr.Dataset) -> None:
    kept = {
        name: run(bridge, batch, names_filter=lambda hook: hook.endswith("hook_resid_post"))[1]
        for name, bridge in bridges.items()
    }
    found = mcinterp.logit_lens_of_cache(kept, bridges, batch.tokens, attention_mask=batch.attention)
    assert np.array_equal(found["entropy"].sel(site="resid_post"), wanted["entropy"].sel(site="resid_post"), True)
    assert np.array_equal(
        found["entropy"].sel(site="resid_pre", layer=[1, 2, 3, 4, 5]),
        wanted["entropy"].sel(site="resid_pre", layer=[1, 2, 3, 4, 5]),
        True,
    )
    assert found["entropy"].sel(site="resid_mid").isnull().all()
    assert found["entropy"].sel(site="resid_pre", layer=0).isnull().all()
    plain = dict(kept["base"].items())
    alone = mcinterp.logit_lens_of_cache(plain, bridges["base"], batch.tokens, attention_mask=batch.attention)
    assert np.array_equal(
        alone["entropy"].sel(stage="model", site="resid_post"),
        found["entropy"].sel(stage="base", site="resid_post"),
        True,
    )


def test_hidden_states_of_transformers_read_as_the_residual_stream(
    models: dict[str, Any], tokenizers: dict[str, Any], batch: Batch, wanted: xr.Dataset
) -> None:
    with torch.no_grad():
        outputs = {
            name: model(batch.tokens, attention_mask=batch.attention, output_hidden_states=True)
            for name, model in models.items()
        }
    found = logit_lens_of_hidden_states(
        outputs, models, batch.tokens, tokenizer=tokenizers, attention_mask=batch.attention
    )
    theirs = wanted.sel(lens=["own"], site=["resid_pre", "resid_post"])
    assert set(found.data_vars) == set(wanted.data_vars)
    for name in ("entropy", "kl_final_to_lens", "kl_stage_to_base", "attractor_log_prob", "next_log_prob"):
        ours = found[name].sel(site=["resid_pre", "resid_post"])
        assert float(abs(ours - theirs[name]).max()) < TOLERANCE, name
        assert np.array_equal(ours.isnull(), theirs[name].isnull())
    assert np.array_equal(
        found["top_token"].sel(site="resid_post")[..., 0], theirs["top_token"].sel(site="resid_post")[..., 0]
    )
    assert float(found["kl_final_to_lens"].sel(layer=5, site="resid_post").max()) == 0
    assert found["entropy"].sel(site="resid_mid").isnull().all()


def test_a_last_hidden_state_without_the_norm_is_refused(
    models: dict[str, Any], bridges: dict[str, Any], tokenizers: dict[str, Any], batch: Batch
) -> None:
    output = models["sft"](batch.tokens, attention_mask=batch.attention, output_hidden_states=True)
    stream = run(bridges["sft"], batch)[1]["blocks.5.hook_resid_post"]
    wrong = SimpleNamespace(logits=output.logits, hidden_states=(*output.hidden_states[:-1], stream))
    read = {"tokenizer": tokenizers["sft"], "attention_mask": batch.attention}
    with pytest.raises(InputError, match="not the normed one that transformers gives"):
        logit_lens_of_hidden_states(wrong, models["sft"], batch.tokens, **read)
    with pytest.raises(InputError, match="nats away from the output's logits"):
        logit_lens_of_hidden_states(output, models["base"], batch.tokens, **read)
    with pytest.raises(InputError, match="no hidden states or no logits"):
        logit_lens_of_hidden_states(output.hidden_states, models["sft"], batch.tokens, **read)
    fewer = SimpleNamespace(logits=output.logits, hidden_states=output.hidden_states[1:])
    with pytest.raises(InputError, match="got 6 hidden states"):
        logit_lens_of_hidden_states(fewer, models["sft"], batch.tokens, **read)
    last = models["sft"](batch.tokens, attention_mask=batch.attention, output_hidden_states=True, logits_to_keep=1)
    with pytest.raises(InputError, match="logits of all positions"):
        logit_lens_of_hidden_states(last, models["sft"], batch.tokens, **read)


def test_caches_that_would_read_wrongly_are_refused(bridges: dict[str, Any], batch: Batch) -> None:
    base, sft = bridges["base"], bridges["sft"]
    logits, cache = run(base, batch)
    read = mcinterp.logit_lens_of_cache
    with pytest.raises(InputError, match="filled by another bridge"):
        read(cache, sft, batch.tokens)
    with pytest.raises(InputError, match="nats away from the model's own"):
        read(dict(cache.items()), sft, batch.tokens, attention_mask=batch.attention, logits=logits)
    with pytest.raises(InputError, match="on other tokens than those given"):
        read(cache, base, batch.tokens + 1)
    with pytest.raises(InputError, match="does not hold its tokens"):
        read(run(base, batch, names_filter=["blocks.5.hook_resid_post"])[1], base)
    with pytest.raises(InputError, match="lacks blocks.5.hook_resid_post"):
        read(run(base, batch, names_filter=["blocks.2.hook_resid_post"])[1], base, batch.tokens)
    with pytest.raises(InputError, match="give the cache of all positions"):
        read(run(base, batch, names_filter=["blocks.5.hook_resid_post"], pos_slice=-1)[1], base, batch.tokens)
    with pytest.raises(InputError, match="give what run_with_cache returns second"):
        read((logits, cache), base, batch.tokens)
    with pytest.raises(InputError, match="the stages are base, sft"):
        read({"base": cache}, bridges, batch.tokens)
    with pytest.raises(InputError, match="give the TransformerBridge that was run"):
        read(cache, base.original_model, batch.tokens)
    with pytest.raises(InputError, match="got prompt lengths"):
        read(cache, base, batch.tokens, prompt_lengths=[1, 2])
    with pytest.raises(InputError, match="the mask has shape"):
        read(cache, base, batch.tokens, attention_mask=torch.ones(1, 2 * batch.tokens.shape[1]))
    with pytest.raises(InputError, match="give whole numbers, batch by column"):
        read(dict(run(base, batch, names_filter=["blocks.5.hook_resid_post"])[1].items()), base, torch.zeros(2, 3))


def test_a_cache_of_processed_weights_is_refused(batch: Batch) -> None:
    bridge = bridge_of(pocket_path(NAMES[0]))
    bridge.enable_compatibility_mode(disable_warnings=True)
    with pytest.raises(InputError, match="processed weights"):
        mcinterp.logit_lens_of_cache(run(bridge, batch)[1], bridge, batch.tokens)
