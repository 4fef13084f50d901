"""Every site of every architecture against one full forward pass under hooks for each cell."""

import numpy as np
import pytest
import torch
from patching_reference import (
    BARE,
    BY_HEAD,
    assert_equals_reference,
    sites_of,
    tiny_pair,
)

import mcinterp
from conftest import SHAPES, Build
from mcinterp.chain import Stage, load_pair
from mcinterp.weights.grafts import grafted

TEXTS = ["Are bugs real?", "abc"]


@pytest.mark.parametrize("architecture", SHAPES)
def test_every_site_at_the_last_position(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    sites = (*sites_of(pair.base), "kv", ("attn_out", "mlp_out"))
    result = mcinterp.patch(pair, TEXTS, sites=sites, neurons=[3, 11, 17], engine="fast", **BARE)
    n_layers = pair.base.n_layers
    assert assert_equals_reference(pair, result, TEXTS, neurons=[3, 11, 17]) == 4 * (n_layers * (len(sites) - 1) + 1)
    assert float(abs(result["kl_to_recipient"]).sel(site="mlp_post").max()) > 1e-5


@pytest.mark.parametrize("architecture", SHAPES)
def test_every_site_at_all_positions(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    sites = (*sites_of(pair.base), "kv")
    result = mcinterp.patch(pair, TEXTS[:1], sites=sites, positions="all", layers=[0, 2], engine="fast", **BARE)
    assert_equals_reference(pair, result, TEXTS[:1], lambda ids: range(len(ids)))


@pytest.mark.parametrize("architecture", SHAPES)
def test_heads_one_at_a_time(tiny: Build, architecture: str) -> None:
    pair = tiny_pair(tiny, architecture)
    result = mcinterp.patch(
        pair, TEXTS[:1], sites=(*BY_HEAD, "kv"), heads="each", positions="all", layers=[1], engine="fast", **BARE
    )
    assert result["head"].values.tolist() == [0, 1, 2, 3]
    assert_equals_reference(pair, result, TEXTS[:1], lambda ids: range(len(ids)))


@pytest.mark.parametrize("engine", ["fast", "plain"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "olmo2", "granite"])
def test_the_stream_inside_a_layer_is_all_that_later_layers_see(tiny: Build, architecture: str, engine: str) -> None:
    """Where two models differ up to a layer's attention alone, its `resid_mid` makes one read like the other."""
    base = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")), names=["base", "tuned"])
    below = ["embed", "0.attn", "0.mlp", "1.attn"]
    with grafted(base, below, direction="tuned_to_base"):
        mixed = clean_entropies(base.base)
        own = mcinterp.patch(base, TEXTS, sites=["resid_mid"], layers=1, positions="all", engine=engine, **BARE)
    found = mcinterp.patch(base, TEXTS, sites=["resid_mid"], layers=1, positions="all", engine=engine, **BARE)
    brought = found["entropy"].sel(direction="tuned_to_base").squeeze()
    np.testing.assert_allclose(brought, mixed, atol=1e-4)
    unmoved = own["entropy"].sel(direction="tuned_to_base").squeeze()
    np.testing.assert_allclose(unmoved, mixed, atol=1e-4)


def clean_entropies(stage: Stage) -> list[float]:
    """Entropy after every text."""
    found = []
    for text in TEXTS:
        with torch.inference_mode():
            last = stage.bridge(torch.tensor([stage.tokenizer(text).input_ids]))[0, -1].log_softmax(-1)
        found.append(float(-(last.exp() * last).sum()))
    return found
