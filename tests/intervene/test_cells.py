"""Windows, joint sites, heads and neurons against the reference, and requests that are refused."""

from typing import Any

import numpy as np
import pytest
from patching_reference import BARE, assert_equals_reference, tiny_pair

import mcinterp
from conftest import Build
from mcinterp.chain import Chain
from mcinterp.errors import InputError

TEXTS = ["Are bugs real?", "abcd"]


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("window", [2, 3])
def test_a_window_patches_its_layers_together(tiny: Build, architecture: str, window: int) -> None:
    pair = tiny_pair(tiny, architecture)
    sites = ("resid_pre", "attn_out", "mlp_out", "z", "kv", "pattern", "mlp_post", ("q", "attn_out"))
    result = mcinterp.patch(pair, TEXTS, sites=sites, window=window, positions=slice(-3, 0), engine="fast", **BARE)
    assert result["layer"].values.tolist() == list(range(4 - window))
    assert_equals_reference(pair, result, TEXTS, lambda ids: range(len(ids) - 4, len(ids) - 1), window=window)


def test_the_final_norm_stands_behind_the_last_window(pair: Chain) -> None:
    result = mcinterp.patch(pair, TEXTS, sites=["final_scale", ("resid_post", "final_scale")], window=2, **BARE)
    alone = mcinterp.patch(pair, TEXTS, sites=["final_scale"], layers=2, **BARE)
    np.testing.assert_allclose(
        result["entropy"].sel(site="final_scale", layer=1), alone["entropy"].isel(site=0, layer=0), atol=1e-5
    )
    assert np.isnan(result["entropy"].sel(site="final_scale", layer=0)).all()


@pytest.mark.parametrize("architecture", ["llama", "olmo2", "granite"])
def test_joint_sites_hold_together(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    sites = (("q", "k", "v"), ("resid_pre", "mlp_out"), ("pattern", "v"), ("z", "mlp_post"), ("kv", "q"))
    result = mcinterp.patch(pair, TEXTS, sites=sites, positions=slice(-2, 1), engine="fast", **BARE)
    assert result["site"].values.tolist() == ["q+k+v", "resid_pre+mlp_out", "pattern+v", "z+mlp_post", "kv+q"]
    assert_equals_reference(pair, result, TEXTS, lambda ids: range(len(ids) - 3, len(ids)))
    np.testing.assert_allclose(result["entropy"].sel(site="q+k+v"), result["entropy"].sel(site="kv+q"), atol=1e-6)


def test_chosen_heads_are_those_of_all_heads_one_at_a_time(pair: Chain) -> None:
    every = mcinterp.patch(pair, TEXTS, sites=["z", "k"], heads="each", **BARE)
    some = mcinterp.patch(pair, TEXTS, sites=["z", "k"], heads=[3, 1], **BARE)
    assert some["head"].values.tolist() == [1, 3]
    np.testing.assert_allclose(some["entropy"], every["entropy"].sel(head=[1, 3]), atol=1e-5)
    missing = np.isnan(every["entropy"]).any(["prompt", "direction", "layer"])
    assert missing.sel(site="k").values.tolist() == [False, False, True, True]
    assert not missing.sel(site="z").any()


def test_neurons_may_differ_by_layer(pair: Chain) -> None:
    options: dict[str, Any] = {"sites": ["mlp_post"], "positions": "all", **BARE, "controls": True}
    both = mcinterp.patch(pair, TEXTS, neurons={0: [1, 2], 2: [30]}, **options)
    assert np.isnan(both["entropy"].sel(layer=1)).all()
    for layer, neurons in ((0, [1, 2]), (2, [30])):
        one = mcinterp.patch(pair, TEXTS, neurons=neurons, layers=layer, **options)
        assert_equals_reference(pair, one, TEXTS, lambda ids: range(len(ids)), neurons=neurons)
        for name in ("entropy", "entropy_control"):
            np.testing.assert_allclose(both[name].sel(layer=layer), one[name].isel(layer=0), atol=1e-5)
    every = mcinterp.patch(pair, TEXTS, neurons=range(40), **options)
    np.testing.assert_allclose(every["entropy"], mcinterp.patch(pair, TEXTS, **options)["entropy"], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 3}, r"got layers \[3\] with a window of 1 and the model has layers 0 to 2"),
        ({"layers": [-1]}, "choose layers and a window inside"),
        ({"layers": []}, r"got layers \[\]"),
        ({"layers": [2], "window": 2}, "with a window of 2"),
        ({"window": 0}, "with a window of 0"),
        ({"window": 4}, "with a window of 4"),
        ({"sites": ["resid"]}, "site 'resid' is unknown; give some of resid_pre, resid_mid"),
        ({"sites": [("z", "qk")]}, "site 'qk' is unknown"),
        ({"sites": [()]}, "a joint site without parts"),
        ({"sites": []}, "no site was given"),
        ({"sites": ["final_scale"], "layers": [0]}, "no cell"),
        ({"sites": ["z", "mlp_out"], "heads": "each"}, "heads were asked for and site 'mlp_out' has none"),
        ({"sites": ["z"], "heads": [4]}, "head 4 was asked for and there are 4"),
        ({"sites": ["z"], "heads": [-1]}, "head -1 was asked for"),
        ({"sites": ["kv"], "heads": [2]}, "head 2 was asked for and there are 2"),
        ({"sites": ["z"], "heads": []}, "no head was given"),
        ({"neurons": [1]}, "neurons were chosen and no site has them; add the site mlp_post"),
        ({"sites": ["mlp_post"], "neurons": [39, 40]}, "neuron 40 was asked for and layers have neurons 0 to 39"),
        ({"sites": ["mlp_post"], "neurons": [-1]}, "neuron -1 was asked for"),
        ({"sites": ["mlp_post"], "neurons": {1: [40]}}, "neuron 40 was asked for"),
        ({"sites": ["mlp_post"], "neurons": []}, "no neuron was given"),
        (
            {"sites": ["mlp_post"], "neurons": {3: [1]}},
            "neurons of layer 3 were chosen and the model has layers 0 to 2",
        ),
    ],
)
def test_cells_that_do_not_exist_are_refused(pair: Chain, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mcinterp.patch(pair, TEXTS, **options)
    with pytest.raises(InputError, match=message):
        mcinterp.generate_patched(pair, TEXTS, **options)


@pytest.mark.parametrize("architecture", ["gpt_neox", "cohere"])
def test_parallel_blocks_have_no_resid_mid(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    with pytest.raises(InputError, match="stage 'base' has no site 'resid_mid' in its architecture; leave it out"):
        mcinterp.patch(pair, TEXTS, sites=["resid_mid"])
