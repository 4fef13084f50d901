"""Entropy and frequency neurons in the weights: against plain numpy, and planted ones."""

import numpy as np
import pytest
import torch
from planted import PLAIN, fresh, make_unread, plant
from transformers import AutoModelForCausalLM

from conftest import VOCABULARY, Build
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.folding import final_norm, linear_weight, mlp_down, norm_of
from mcinterp.neurons.selection import entropy_neurons, frequency_neurons
from mcinterp.neurons.statistics import neuron_statistics

COUNTS = np.random.default_rng(0).integers(0, 1000, VOCABULARY).tolist()


def plain_weights(tiny: Build, architecture: str, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """W_U (token first) and w_out (neuron first) with gains and centring folded in, from plain transformers."""
    model = AutoModelForCausalLM.from_pretrained(tiny(architecture)).double()
    unembed, norm, down, post = (None if name is None else name.format(layer) for name in PLAIN[architecture])

    def weight(name: str) -> np.ndarray:
        return model.get_submodule(name).weight.detach().numpy()

    def gain(name: str) -> np.ndarray:
        return weight(name) + (architecture == "gemma2")

    out = weight(down) if architecture == "gpt2" else weight(down).T
    out = out if post is None else out * gain(post)
    w_u = weight(unembed) * gain(norm)
    if architecture in ("gpt2", "gpt_neox"):
        out, w_u = out - out.mean(axis=1, keepdims=True), w_u - w_u.mean(axis=1, keepdims=True)
    return w_u - w_u.mean(axis=0), out


@pytest.mark.parametrize("architecture", PLAIN)
def test_statistics_are_those_of_a_plain_computation(tiny: Build, architecture: str) -> None:
    found = neuron_statistics(fresh(tiny, architecture), layers=[0, 2], null_share=0.1, counts=COUNTS)
    u = np.log(np.asarray(COUNTS) + 1.0)
    for layer in (0, 2):
        w_u, out = plain_weights(tiny, architecture, layer)
        cosines = out @ w_u.T / np.linalg.norm(out, axis=1)[:, None] / np.linalg.norm(w_u, axis=1)
        directions = np.linalg.svd(w_u)[2][: np.linalg.matrix_rank(w_u, tol=1e-9)]
        share = np.linalg.norm(out @ directions[-found.attrs["null_directions"] :].T, axis=1)
        effect = out @ w_u.T
        mine = found.sel(stage="base", layer=layer)
        np.testing.assert_allclose(mine["output_norm"], np.linalg.norm(out, axis=1), rtol=1e-5)
        np.testing.assert_allclose(mine["logit_variance"], cosines.var(axis=1), rtol=1e-4)
        np.testing.assert_allclose(mine["null_fraction"], share / np.linalg.norm(out, axis=1), rtol=1e-4)
        expected = [np.corrcoef(each, u)[0, 1] for each in effect]
        np.testing.assert_allclose(mine["frequency_alignment"], expected, atol=1e-5)
        np.testing.assert_allclose(
            mine["unembedding_singular_value"], np.linalg.svd(w_u)[1][: len(directions)], rtol=1e-4
        )


@pytest.mark.parametrize("architecture", PLAIN)
def test_folded_parts_are_what_the_modules_do(tiny: Build, architecture: str) -> None:
    stage = fresh(tiny, architecture).tuned
    module = mlp_down(stage, 1)
    width = linear_weight(module).shape[0]
    with torch.inference_mode():
        called = module(torch.eye(width)) - module(torch.zeros(1, width))
    torch.testing.assert_close(linear_weight(module), called, atol=1e-5, rtol=1e-5)
    norm, x = final_norm(stage), torch.randn(5, 24)
    torch.testing.assert_close(norm.frozen(x, norm.scale(x)), stage.readout.norm(x), atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        _, cache = stage.bridge.run_with_cache(torch.tensor([[5, 6, 7]]))
    expected = cache["ln_final.hook_scale"][0]
    found = norm.scale(cache["blocks.2.hook_resid_post"][0]).float()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", PLAIN)
def test_a_planted_entropy_neuron_is_found(tiny: Build, architecture: str) -> None:
    chain = fresh(tiny, architecture)
    hidden = make_unread(chain, 7)
    plant(chain, 2, 11, 3.0 * hidden)
    statistics = neuron_statistics(chain)
    assert entropy_neurons(statistics, 1) == {"base": {2: (11,)}, "tuned": {2: (11,)}}
    assert float(statistics["null_fraction"].sel(neuron=11).min()) > 0.999
    assert float(statistics["logit_variance"].sel(neuron=11).max()) < 1e-6


@pytest.mark.parametrize("architecture", PLAIN)
def test_a_planted_frequency_neuron_is_found(tiny: Build, architecture: str) -> None:
    chain = fresh(tiny, architecture)
    u = torch.as_tensor(np.log(np.asarray(COUNTS) + 1.0))
    w_u = torch.as_tensor(plain_weights(tiny, architecture, 0)[0])
    best = torch.linalg.pinv(w_u) @ (u - u.mean())
    plant(chain, 1, 5, -4.0 * best / best.norm())
    statistics = neuron_statistics(chain, layers=[1, 2], counts=COUNTS)
    assert frequency_neurons(statistics, 1)["base"] == {1: (5,)}
    found = statistics["frequency_alignment"].sel(stage="base")
    assert int(np.argmin(found.sel(layer=1).values)) == 5


def test_the_unigram_of_prompts_is_the_bases_mean_distribution(pair: Chain) -> None:
    texts = ["Are bugs real?", "one"]
    with torch.inference_mode():
        each = [pair.base.bridge(torch.tensor([pair.base.tokenizer(text).input_ids]))[0].softmax(-1) for text in texts]
    mean = torch.cat(each).mean(dim=0)
    counts = (mean.double() * 1e9 - 1.0).tolist()
    by_prompts, by_counts = neuron_statistics(pair, texts), neuron_statistics(pair, counts=counts)
    np.testing.assert_allclose(by_prompts["frequency_alignment"], by_counts["frequency_alignment"], atol=1e-4)


def test_neurons_are_chosen_by_the_stated_rule_and_best_first(pair: Chain) -> None:
    statistics = neuron_statistics(pair, layers=[0, 1, 2])
    for stage, sets in entropy_neurons(statistics, 6, low_variance=0.25).items():
        one = statistics.sel(stage=stage)
        score = (one["output_norm"] * one["null_fraction"]).values
        allowed = one["logit_variance"].values <= np.quantile(one["logit_variance"].values, 0.25)
        best = np.argsort(-np.where(allowed, score, -1).ravel())[:6]
        assert {(layer, n) for layer, each in sets.items() for n in each} == {divmod(int(i), 40) for i in best}
        for layer, each in sets.items():
            assert np.diff(score[layer, list(each)]).max(initial=-1.0) < 0


def test_bad_input_is_refused_in_a_sentence(pair: Chain) -> None:
    with pytest.raises(InputError, match="layers \\[3\\] and the model has layers 0 to 2"):
        neuron_statistics(pair, layers=3)
    with pytest.raises(InputError, match="null_share 1.5 is no share"):
        neuron_statistics(pair, null_share=1.5)
    with pytest.raises(InputError, match="got \\(2,\\) token counts; give 85"):
        neuron_statistics(pair, counts=[1, 2])
    with pytest.raises(InputError, match="both prompts and counts"):
        neuron_statistics(pair, ["a"], counts=COUNTS)
    statistics = neuron_statistics(pair)
    with pytest.raises(InputError, match="made without a unigram"):
        frequency_neurons(statistics, 3)
    with pytest.raises(InputError, match="21 neurons were asked for and 20 qualify"):
        entropy_neurons(statistics, 21)
    with pytest.raises(InputError, match="a projection is a ReLU"):
        linear_weight(torch.nn.ReLU())
    with pytest.raises(InputError, match="Tanh is no norm that scales its input"):
        norm_of(torch.nn.Tanh(), 24)


def test_a_mixture_of_experts_is_refused(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(pair.base.bridge.blocks[2].mlp._modules, "out")
    with pytest.raises(InputError, match="no single output projection"):
        mlp_down(pair.base, 2)
