"""Weights read layer by layer or one model at a time give the numbers of weights in memory, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import mcinterp
from conftest import Build
from mcinterp.chain import Chain, load_chain, load_pair
from mcinterp.errors import InputError
from mcinterp.placement.activation_store import ActivationStore
from mcinterp.placement.residency import Residency, weights_of
from mcinterp.placement.skeletons import residency_of
from mcinterp.weights.tensors import slots_of

TEXTS = ["Are bugs real?", "yes or no", "a: 1, b: 2, c:", "Pick a number"]
ARCHITECTURES = ("llama", "qwen2", "gemma2", "olmo2", "granite", "cohere", "mixtral", "gpt2", "gpt_neox")
IN_TURNS = ("one", "stream")


def held(tiny: Build, architecture: str, placement: str) -> Chain:
    return load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")), placement=placement)


def residency(chain: Chain, stage: int) -> Residency:
    found = residency_of(chain.stages[stage].bridge)
    assert found is not None
    return found


def reads(chain: Chain) -> list[list[int]]:
    return [
        [residency(chain, s).reads[layer] for layer in range(chain.base.n_layers)] for s in range(len(chain.stages))
    ]


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        assert np.array_equal(one[name].values, other[name].values, equal_nan=one[name].dtype.kind == "f"), name


@pytest.mark.parametrize("placement", IN_TURNS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lens_and_patches_are_those_of_weights_in_memory(tiny: Build, architecture: str, placement: str) -> None:
    whole, apart = held(tiny, architecture, "together"), held(tiny, architecture, placement)
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    completed = mcinterp.teacher_force(whole, whole.render(prompts), mcinterp.Decoding(4))
    assert_same(mcinterp.logit_lens(whole, completed), mcinterp.logit_lens(apart, completed))
    assert_same(mcinterp.patch(whole, prompts), mcinterp.patch(apart, prompts))


@pytest.mark.parametrize("placement", IN_TURNS)
def test_grafts_are_those_of_weights_in_memory(tiny: Build, placement: str) -> None:
    whole, apart = held(tiny, "qwen2", "together"), held(tiny, "qwen2", placement)
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    for by in ("component", "head"):
        assert_same(mcinterp.graft_sweep(whole, prompts, by=by), mcinterp.graft_sweep(apart, prompts, by=by))
    shapley = [mcinterp.graft_shapley(chain, prompts, by="layer", orders=4) for chain in (whole, apart)]
    assert_same(*shapley)


@pytest.mark.parametrize("placement", IN_TURNS)
def test_other_analyses_run_on_layers_from_disk(tiny: Build, placement: str) -> None:
    whole, apart = held(tiny, "llama", "together"), held(tiny, "llama", placement)
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    assert_same(mcinterp.entropy_split(whole, prompts), mcinterp.entropy_split(apart, prompts))
    assert_same(mcinterp.direct_logit_attribution(whole, prompts), mcinterp.direct_logit_attribution(apart, prompts))
    updates = [mcinterp.update_attribution(chain, prompts, nodes=2) for chain in (whole, apart)]
    np.testing.assert_allclose(updates[0]["attribution"], updates[1]["attribution"], atol=1e-5)


def test_each_layer_is_read_once_a_pass(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcinterp.capture.MOST_TOKENS", 16)
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    streamed = held(tiny, "llama", "stream")
    mcinterp.logit_lens(streamed, mcinterp.teacher_force(streamed, streamed.render(prompts), mcinterp.Decoding(0)))
    assert reads(streamed) == [[1] * 3] * 2
    mcinterp.patch(streamed, prompts, interaction=False)
    assert reads(streamed) == [[3] * 3] * 2, "one pass of the probe and one of the sweep"


def test_one_model_at_a_time_is_in_memory(tiny: Build) -> None:
    chain = load_chain({s: str(tiny("llama", s)) for s in ("base", "tuned", "later")}, placement="one")
    mcinterp.logit_lens(chain, mcinterp.teacher_force(chain, chain.render(mcinterp.Prompts.from_texts(TEXTS))))
    assert [len(residency(chain, stage).present) for stage in range(3)] == [0, 0, 3]
    streamed = held(tiny, "llama", "stream")
    mcinterp.patch(streamed, mcinterp.Prompts.from_texts(TEXTS))
    assert [residency(streamed, stage).present for stage in range(2)] == [{2}, {2}]


def test_absent_weights_are_those_of_the_file(tiny: Build) -> None:
    whole, apart = held(tiny, "llama", "together"), held(tiny, "llama", "stream")
    there = dict(weights_of(apart.tuned.bridge.original_model))
    for name, weight in whole.tuned.bridge.original_model.named_parameters():
        assert torch.equal(weight, there[name]), name
    assert whole.tuned.fingerprint == apart.tuned.fingerprint


def test_a_graft_is_taken_back_while_layers_come_and_go(tiny: Build) -> None:
    apart = held(tiny, "llama", "stream")
    before = {name: slot.tensor.clone() for name, slot in slots_of(apart.tuned).items()}
    ids = apart.render(mcinterp.Prompts.from_texts(TEXTS[:1])).token_ids[0]
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        own = apart.tuned.bridge(tokens)
        with mcinterp.grafted(apart, ["1.mlp"]) as stage:
            grafted = stage.bridge(tokens)
            assert torch.equal(grafted, stage.bridge(tokens))
        assert torch.equal(own, apart.tuned.bridge(tokens))
    assert not torch.equal(own, grafted)
    assert all(torch.equal(before[name], slot.tensor) for name, slot in slots_of(apart.tuned).items())


def test_half_precision_is_read_from_full(tiny: Build) -> None:
    names = (str(tiny("llama")), str(tiny("llama", "tuned")))
    chains = [load_pair(*names, dtype="bfloat16", placement=p) for p in ("together", "stream")]
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    read = [mcinterp.logit_lens(c, mcinterp.teacher_force(c, c.render(prompts), mcinterp.Decoding(0))) for c in chains]
    assert_same(*read)
    assert all(p.dtype == torch.bfloat16 for _, p in weights_of(chains[1].base.bridge.original_model))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("placement", IN_TURNS)
def test_full_precision_is_read_from_half(placement: str, dtype: str) -> None:
    chains = [load_pair("pocket:base", "pocket:sft", dtype=dtype, placement=p) for p in ("together", placement)]
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    completed = mcinterp.teacher_force(chains[0], chains[0].render(prompts), mcinterp.Decoding(2))
    assert_same(*(mcinterp.logit_lens(chain, completed) for chain in chains))
    assert_same(*(mcinterp.patch(chain, prompts) for chain in chains))


def test_activations_may_wait_in_half_precision(tiny: Build) -> None:
    names = (str(tiny("llama")), str(tiny("llama", "tuned")))
    whole, halved = load_pair(*names), load_pair(*names, placement="one", store="bfloat16")
    prompts = mcinterp.Prompts.from_texts(TEXTS)
    lenses = [mcinterp.logit_lens(c, mcinterp.teacher_force(c, c.render(prompts))) for c in (whole, halved)]
    gap = abs(lenses[0]["entropy"] - lenses[1]["entropy"]).max().item()
    assert 0 < gap < 0.05
    patched = [mcinterp.patch(c, prompts, controls=False) for c in (whole, halved)]
    assert 0 < abs(patched[0]["entropy"] - patched[1]["entropy"]).max().item() < 0.05
    with pytest.raises(InputError, match="float32"):
        load_pair(*names, store="int4")


def test_what_waits_on_disk_is_checked(tmp_path: Path) -> None:
    store = ActivationStore(tmp_path)
    values = torch.randn(5, 7)
    store.put("a", values)
    store.put("b", torch.zeros(0, 3))
    store.put("c", values.to(torch.bfloat16))
    assert torch.equal(store.get("a"), values)
    assert store.get("b").shape == (0, 3)
    assert torch.equal(store.get("c"), values.to(torch.bfloat16))
    assert "d" not in store
    with open(store.file.name, "r+b") as damaged:
        damaged.seek(8)
        damaged.write(b"\x55")
    with pytest.raises(InputError, match="damaged"):
        store.get("a")
    store.forget()
    assert "a" not in store
