"""Every site of every architecture against one full forward pass under hooks for each cell."""

import pytest
from patching_reference import (
    BARE,
    BY_HEAD,
    assert_equals_reference,
    sites_of,
    tiny_pair,
)

import mcinterp
from conftest import SHAPES, Build

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
