"""Direct logit attribution: parts that sum to the model's own logits, heads and neurons by hand, halves of change."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import SHAPES, Build, tokenizer
from mcinterp.attribution.direct import direct_logit_attribution
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.sequences import with_completions

TEXTS = ["Are bugs real?", "one", "ab c"]


@pytest.fixture(params=SHAPES)
def each(request: pytest.FixtureRequest, tiny: Build) -> Chain:
    """A pair of every architecture."""
    return load_pair(str(tiny(request.param)), str(tiny(request.param, "tuned")))


def own_logits(stage, text_ids) -> torch.Tensor:
    """The model's own logits after a prompt, before its softcap."""
    with torch.inference_mode():
        logits = stage.bridge(torch.tensor([text_ids]))[0, -1].double()
    cap = stage.readout.softcap
    return logits if cap is None else cap * torch.atanh(logits / cap)


@pytest.mark.parametrize("by", ["head", "component"])
@pytest.mark.parametrize("against", ["mean", "plausible", 7])
def test_parts_sum_to_the_models_own_logits(each: Chain, by: str, against) -> None:
    found = direct_logit_attribution(each, TEXTS, by=by, against=against, neurons=3)
    assert float(found["completeness_error"].max()) < 1e-4
    for prompt, ids in enumerate(as_sequences(each, TEXTS).ids):
        token = int(found["attractor"][prompt])
        assert token == int(own_logits(each.tuned, ids).argmax())
        for number, stage in enumerate(each.stages):
            logits = own_logits(stage, ids)
            total = float(found["attribution"][number, prompt].sum())
            if against == "mean":
                assert total == pytest.approx(float(logits[token] - logits.mean()), abs=2e-4)
            elif against == 7:
                assert total == pytest.approx(float(logits[token] - logits[7]), abs=2e-4)


def test_changes_split_into_two_halves(each: Chain) -> None:
    found = direct_logit_attribution(each, TEXTS, neurons=3)
    change = found["attribution"].isel(stage=1) - found["attribution"].isel(stage=0)
    halves = found["output_changed"].isel(stage=1) + found["readout_changed"].isel(stage=1)
    np.testing.assert_allclose(change, halves, atol=1e-5)
    assert (found["output_changed"].isel(stage=0) == 0).all()


def test_heads_and_neurons_are_those_of_weights(pair: Chain) -> None:
    found = direct_logit_attribution(pair, TEXTS[:1], neurons=120).isel(prompt=0)
    for number, stage in enumerate(pair.stages):
        model, ids = stage.bridge, torch.tensor(as_sequences(pair, TEXTS[:1]).ids)
        with torch.no_grad():
            _, kept = model.run_with_cache(ids)
        final, gain = kept["blocks.2.hook_resid_post"][0, -1], model.ln_final.original_component.weight
        weight = model.unembed.original_component.weight
        scale = 1 / (final.square().mean() + 1e-6).sqrt()
        read = (weight[int(found["attractor"])] - weight.mean(dim=0)) * gain * scale
        one = found["attribution"].isel(stage=number)
        for layer in range(3):
            z = kept[f"blocks.{layer}.attn.hook_z"][0, -1]
            output = model.blocks[layer].attn.o.original_component.weight.view(24, 4, 6)
            expected = torch.einsum("d,dhz,hz->h", read, output, z).detach()
            np.testing.assert_allclose([one.sel(component=f"{layer}.attn.{h}") for h in range(4)], expected, atol=1e-5)
            post = kept[f"blocks.{layer}.mlp.hook_post"][0, -1]
            neurons = (read @ model.blocks[layer].mlp.out.original_component.weight * post).detach()
            np.testing.assert_allclose([one.sel(component=f"{layer}.mlp.{n}") for n in range(40)], neurons, atol=1e-5)
            assert float(one.sel(component=f"{layer}.mlp")) == pytest.approx(0, abs=1e-5)


def test_the_strongest_neurons_are_told_apart(pair: Chain) -> None:
    every = direct_logit_attribution(pair, TEXTS, neurons=120)
    few = direct_logit_attribution(pair, TEXTS, neurons=2)
    assert int((few["neuron"] >= 0).sum()) == 2
    size = np.abs(every["attribution"].mean("prompt")).max("stage")
    best = size.sel(component=every["neuron"] >= 0).sortby(size.sel(component=every["neuron"] >= 0))
    assert {*few["component"].values[few["neuron"].values >= 0]} == {*best["component"].values[-2:]}


def test_an_identical_pair_has_no_change(identical: Chain) -> None:
    found = direct_logit_attribution(identical, TEXTS)
    assert (found["output_changed"] == 0).all()
    assert (found["readout_changed"] == 0).all()
    assert (found["attribution"].isel(stage=0) == found["attribution"].isel(stage=1)).all()


@pytest.mark.parametrize(
    ("which", "half"), [("lm_head", "readout_changed"), ("layers.2.mlp.down_proj", "output_changed")]
)
def test_a_change_in_one_place_is_all_in_its_half(tiny: Build, tmp_path: Path, which: str, half: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    weight = model.get_submodule(which if which == "lm_head" else f"model.{which}").weight
    with torch.no_grad():
        weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    found = direct_logit_attribution(load_pair(str(tiny("llama")), str(tmp_path)), TEXTS, by="component", against=7)
    other = {"readout_changed": "output_changed", "output_changed": "readout_changed"}[half]
    one = found.isel(stage=1)
    if which == "lm_head":
        assert np.abs(one[other]).max() < 1e-5
    else:
        moved = np.abs(one[half]).max("prompt")
        assert float(moved.drop_sel(component="2.mlp").max()) < 1e-5
        assert float(moved.sel(component="2.mlp")) > 0.01
    assert np.abs(one[half]).max() > 0.01


def fold_norms(model) -> None:
    """Move the gains of all norms of a Llama into the matrices behind them."""
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        behind = {
            layer.input_layernorm: [attention.q_proj, attention.k_proj, attention.v_proj],
            layer.post_attention_layernorm: [mlp.gate_proj, mlp.up_proj],
        }
        for norm, matrices in behind.items():
            for matrix in matrices:
                matrix.weight *= norm.weight
            norm.weight.fill_(1.0)
    model.lm_head.weight *= model.model.norm.weight
    model.model.norm.weight.fill_(1.0)


def test_folded_weights_give_the_same_attribution(tiny: Build, tmp_path: Path) -> None:
    folded = []
    for stage in ("base", "tuned"):
        model = AutoModelForCausalLM.from_pretrained(tiny("llama", stage))
        with torch.no_grad():
            fold_norms(model)
        model.save_pretrained(tmp_path / stage)
        tokenizer().save_pretrained(tmp_path / stage)
        folded.append(str(tmp_path / stage))
    plain = load_pair(str(tiny("llama")), str(tiny("llama", "tuned")))
    found, expected = (direct_logit_attribution(chain, TEXTS, neurons=3) for chain in (load_pair(*folded), plain))
    assert found["component"].values.tolist() == expected["component"].values.tolist()
    for name in ("attribution", "output_changed", "readout_changed"):
        np.testing.assert_allclose(found[name], expected[name], atol=2e-5)


def test_read_positions_are_averaged(pair: Chain) -> None:
    written = with_completions(pair, as_sequences(pair, TEXTS).prompts, [(5, 6, 7), (8, 9), (10,)])
    both = direct_logit_attribution(pair, written, read_at=(0, 1), attractor=5)["attribution"]
    each = [direct_logit_attribution(pair, written, read_at=r, attractor=5)["attribution"] for r in (0, 1)]
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "mood"}, "grouping 'mood' is unknown; give one of head, component"),
        ({"against": "zebra"}, "got against='zebra'; give mean, plausible, or a token id below 85"),
        ({"against": 85}, "got against=85; give mean"),
        ({"attractor": -1}, "attractor -1 is no token id"),
    ],
)
def test_bad_requests_are_refused(pair: Chain, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        direct_logit_attribution(pair, TEXTS, **options)
