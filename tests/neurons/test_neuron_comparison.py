"""Sets of neurons compared between stages: overlap, matched random sets, and their cross-model patches."""

from itertools import combinations

import numpy as np
import pytest
import torch
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene.patching import patch
from mcinterp.neurons.comparison import compare_neurons
from mcinterp.neurons.selection import by_layer, entropy_neurons, jaccard_by_chance, joined, matched_neurons, pairs_of
from mcinterp.neurons.set_effects import set_effects
from mcinterp.neurons.statistics import neuron_statistics
from mcinterp.prompts import Prompts
from mcinterp.results import provenance_of

TEXTS = ["Are bugs real?", "one", "Pick a number:", "What is it?"]
PROMPTS = Prompts.from_texts(TEXTS, template=["a", "a", "b", "c"])


@pytest.fixture(scope="module")
def compared(pair: Chain) -> xr.Dataset:
    """Three neurons a kind of the last two layers, beside two random sets."""
    return compare_neurons(pair, PROMPTS, count=3, layers=[1, 2], draws=2)


def test_overlap_by_chance_is_the_mean_over_all_pairs_of_sets() -> None:
    for count, among in ((2, 5), (3, 4), (1, 3), (4, 4)):
        sets = [set(each) for each in combinations(range(among), count)]
        mean = np.mean([len(a & b) / len(a | b) for a in sets for b in sets])
        assert jaccard_by_chance(count, among) == pytest.approx(mean)


def test_matched_neurons_are_others_of_the_layer_nearest_in_norm() -> None:
    norms = xr.DataArray([[1.0, 1.1, 5.0, 5.2, 9.0], [1, 2, 3, 4, 5]], dims=("layer", "neuron"))
    norms = norms.assign_coords(layer=[4, 6], neuron=np.arange(5))
    chosen = {4: (0, 2), 6: (1,)}
    found = matched_neurons(norms, chosen, nearest=1, seed=(0,))
    assert {layer: set(each) for layer, each in found.items()} in ({4: {1, 3}, 6: {0}}, {4: {1, 3}, 6: {2}})
    for seed in range(20):
        each = matched_neurons(norms, chosen, nearest=3, seed=(seed,))
        pairs = pairs_of(each)
        assert len(set(pairs)) == 3
        assert not set(pairs) & set(pairs_of(chosen))
        assert [len(each[layer]) for layer in (4, 6)] == [2, 1]
    assert len({str(matched_neurons(norms, chosen, nearest=3, seed=(seed,))) for seed in range(20)}) > 1
    with pytest.raises(InputError, match="layer 4 has 5 neurons, too few"):
        matched_neurons(norms, {4: (0, 1, 2)}, nearest=2, seed=(0,))


def test_a_set_is_patched_as_one_cell(pair: Chain, compared: xr.Dataset) -> None:
    sets = entropy_neurons(neuron_statistics(pair, PROMPTS, layers=[1, 2]), 3)
    neurons = joined(sets["base"], sets["tuned"])
    units = compared.isel(unit=np.flatnonzero(compared["unit_kind"].values == "entropy"))
    assert by_layer(zip(units["layer"].values, units["neuron"].values, strict=True)) == neurons
    direct = patch(
        pair, PROMPTS, sites=("mlp_post",), layers=min(neurons), window=max(neurons) - min(neurons) + 1,
        neurons=neurons, controls=False, interaction=False,
    ).isel(site=0, layer=0)  # fmt: skip
    for metric in ("entropy", "attractor_log_odds"):
        mine = compared[metric].sel(kind="entropy", draw=0)
        np.testing.assert_array_equal(mine.transpose(*direct[metric].dims), direct[metric])
        np.testing.assert_array_equal(compared[f"{metric}_donor"], direct[f"{metric}_donor"])
    assert bool((compared["entropy"].sel(draw=0) != compared["entropy"].sel(draw=1)).any())


def test_activations_are_the_models_own(pair: Chain, compared: xr.Dataset) -> None:
    for stage in pair.stages:
        with torch.inference_mode():
            caches = [
                stage.bridge.run_with_cache(torch.tensor([pair.base.tokenizer(text).input_ids]))[1] for text in TEXTS
            ]
        for unit in range(compared.sizes["unit"]):
            layer, neuron = int(compared["layer"][unit]), int(compared["neuron"][unit])
            expected = np.mean([float(cache[f"blocks.{layer}.mlp.hook_post"][0, -1, neuron]) for cache in caches])
            assert float(compared["activation"].sel(stage=stage.name)[unit]) == pytest.approx(expected, abs=1e-5)
    change = compared["activation"].sel(stage="tuned") - compared["activation"].sel(stage="base")
    np.testing.assert_allclose(compared["activation_change"].sel(stage="tuned"), change, atol=1e-5)
    assert bool((compared["activation_change"].sel(stage="base") == 0).all())
    assert bool((compared["activation_change_low"] <= compared["activation_change_high"]).all())


def test_overlap_and_norms_stand_beside_the_patches(compared: xr.Dataset) -> None:
    table = compared["jaccard"].values
    assert bool((np.diagonal(table, axis1=1, axis2=2) == 1).all())
    np.testing.assert_array_equal(table, table.transpose(0, 2, 1))
    assert float(compared["jaccard_by_chance"][0]) == pytest.approx(jaccard_by_chance(3, 80))
    assert bool((compared["norm_ratio"].sel(draw=0) == 1).all())
    assert float(abs(compared["norm_ratio"] - 1).max()) < 0.2
    for name in compared.data_vars:
        if not str(name).startswith("entropy_missing"):
            assert "units" in compared[name].attrs, name
    assert provenance_of(compared)["draws"] == 2


def test_effects_of_sets_stand_beside_those_of_random_ones(compared: xr.Dataset) -> None:
    found = set_effects(compared, "entropy")
    cell = compared.sel(kind="entropy", direction="base_to_tuned")
    effect = (cell["entropy"] - cell["entropy_recipient"]).mean("prompt")
    mine = found.sel(kind="entropy", direction="base_to_tuned")
    assert float(mine["effect"]) == pytest.approx(float(effect.sel(draw=0)), abs=1e-6)
    assert float(mine["random_effect"]) == pytest.approx(float(effect.sel(draw=slice(1, None)).mean()), abs=1e-6)
    at_least = 1 + int((abs(effect.sel(draw=slice(1, None))) >= abs(effect.sel(draw=0))).sum())
    assert float(mine["random_above"]) == pytest.approx(at_least / 3)


def test_an_identical_pair_gives_exact_zeros(identical: Chain) -> None:
    found = compare_neurons(identical, PROMPTS, count=3, draws=1)
    assert bool((found["jaccard"] == 1).all())
    for name in ("activation_change", "activation_change_low", "activation_change_high"):
        assert bool((found[name] == 0).all())
    for metric in ("entropy", "attractor_log_odds"):
        np.testing.assert_allclose(found[metric] - found[f"{metric}_recipient"], 0.0, atol=1e-6)


def test_bad_input_is_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="got kinds \\['loud'\\]; give a list of some of entropy, frequency"):
        compare_neurons(pair, PROMPTS, kinds=["loud"])
    with pytest.raises(InputError, match="0 random sets were asked for"):
        compare_neurons(pair, PROMPTS, draws=0)
    with pytest.raises(InputError, match="too few for another of equal norm"):
        compare_neurons(pair, PROMPTS, count=20, kinds=["entropy"], draws=1)
