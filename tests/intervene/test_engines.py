"""The fast sweep against the plain loop on random requests, in any batches; hooks; and the way back to the loop."""

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patching_reference import BARE, BY_HEAD, tiny_pair

import mcinterp
from conftest import SHAPES, Build
from mcinterp.batching import pad
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.intervene import probe, stage_run
from mcinterp.intervene.dissection import Undissectable, allowed_keys, require_known
from mcinterp.intervene.sites import SITES, Site

TEXTS = ["Are bugs real?", "abc", "Pick a number:"]
SLOW = "patching runs one forward pass per cell, which is slow"


def assert_same(one: xr.Dataset, other: xr.Dataset, atol: float = 1e-4) -> None:
    """Equal numbers in every variable, missing in the same cells."""
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        if one[name].dtype.kind == "f" and "recovery" not in str(name):
            np.testing.assert_allclose(one[name], other[name], atol=atol, err_msg=str(name))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A random request, with its architecture and prompts."""
    architecture = draw(st.sampled_from(list(SHAPES)))
    by_head = draw(st.booleans())
    known = BY_HEAD if by_head else [s for s in SITES if s != "resid_mid" or architecture not in ("gpt_neox", "cohere")]
    sites = draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True))
    joint = draw(st.booleans()) and len(sites) > 1
    window = draw(st.integers(1, 3))
    texts = draw(st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=2))
    shortest = 1 - min(len(text) for text in texts)
    places = st.integers(shortest, 0)
    positions = draw(
        st.one_of(st.sampled_from(["last", "all", "each"]), places, st.lists(places, min_size=1, max_size=3))
    )
    return {
        "architecture": architecture,
        "prompts": texts,
        "sites": [tuple(sites)] if joint else sites,
        "window": window,
        "layers": [*draw(st.lists(st.integers(0, 3 - window), max_size=2)), 3 - window],
        "positions": positions,
        "each_position": draw(st.booleans()),
        "heads": draw(st.sampled_from(["each", [1]])) if by_head else None,
        "neurons": [1, 5, 39] if "mlp_post" in sites and draw(st.booleans()) else None,
        "directions": draw(st.sampled_from([["base_to_tuned"], ["tuned_to_base", "base_to_tuned"]])),
        "donor": draw(st.sampled_from(["same", "same", "zero"])),
        "interaction": draw(st.booleans()),
        "seed": draw(st.integers(0, 9)),
    }


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(request=requests())
def test_any_request_gives_the_same_by_the_fast_sweep_in_any_batches_and_by_the_plain_loop(
    tiny: Build, request: dict[str, Any]
) -> None:
    pair = tiny_pair(tiny, request.pop("architecture"))
    request["layers"] = sorted(set(request["layers"]))
    fast = mcinterp.patch(pair, engine="fast", **request)
    assert fast.attrs["engine"] == "fast"
    assert fast.attrs["noise_floor"] <= 1e-5
    assert_same(fast, mcinterp.patch(pair, engine="plain", **request))
    assert_same(fast, mcinterp.patch(pair, engine="fast", max_bytes=1, **request))


def test_random_cells_are_verified_against_the_plain_loop(pair: Chain) -> None:
    result = mcinterp.patch(pair, TEXTS, verify=7, interaction=False)
    assert result.attrs["verified_cells"] == 7
    assert 0 < result.attrs["verified_difference"] < 1e-4


@pytest.fixture
def hooks_are_gone(pair: Chain) -> Iterator[None]:
    """Afterwards no stage has a hook."""
    yield
    assert not [name for s in pair.stages for name, point in s.bridge.hook_dict.items() if point.fwd_hooks]


@pytest.mark.usefixtures("hooks_are_gone")
@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_hooks_are_gone_after_a_run_and_after_an_error(pair: Chain, engine: str) -> None:
    def explode(reading: Any) -> torch.Tensor:
        if len(reading.log_probs) > 0 and reading.log_probs is not reading.donor:
            raise RuntimeError("inside a metric")
        return reading.attractor

    mcinterp.patch(pair, TEXTS[:1], sites=list(SITES), engine=engine, **BARE)
    with pytest.raises(RuntimeError, match="inside a metric"):
        mcinterp.patch(pair, TEXTS[:1], metrics={"explode": explode}, engine=engine, **BARE)


@pytest.mark.usefixtures("hooks_are_gone")
@pytest.mark.parametrize("engine", ["fast", "plain"])
@pytest.mark.parametrize("site", ["z", "k"])
def test_a_patch_that_was_not_applied_is_an_error(
    pair: Chain, monkeypatch: pytest.MonkeyPatch, engine: str, site: str
) -> None:
    monkeypatch.setitem(SITES, site, Site("blocks.{layer}.attn.hook_hidden_states", "head"))
    with pytest.raises(LookupError, match="stage '(base|tuned)': .*did not fire"):
        mcinterp.patch(pair, TEXTS, sites=["resid_pre", site], engine=engine, **BARE)


def halve(activation: torch.Tensor, hook: Any) -> torch.Tensor:
    return activation * 0.5


@pytest.mark.usefixtures("hooks_are_gone")
def test_a_hook_of_the_users_rides_along(pair: Chain) -> None:
    options: dict[str, Any] = {"sites": ["resid_pre", "z", "mlp_out"], **BARE}
    seen: list[int] = []
    with pair.tuned.bridge.hooks(fwd_hooks=[("blocks.1.attn.hook_z", lambda a, hook: seen.append(a.shape[-1]))]):
        watched = mcinterp.patch(pair, TEXTS, engine="fast", **options)
    assert set(seen) == {6}
    bare = mcinterp.patch(pair, TEXTS, engine="fast", **options)
    assert_same(watched, bare, atol=1e-6)
    pair.tuned.bridge.add_hook("blocks.1.hook_attn_out", halve)
    try:
        fast, plain = (mcinterp.patch(pair, TEXTS, engine=engine, **options) for engine in ("fast", "plain"))
        assert len(pair.tuned.bridge.hook_dict["blocks.1.hook_attn_out"].fwd_hooks) == 1
    finally:
        pair.tuned.bridge.reset_hooks()
    assert_same(fast, plain)
    assert float(abs(fast["entropy"] - bare["entropy"]).max()) > 1e-3


def test_what_cannot_be_taken_apart_runs_plainly_with_one_warning(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise Undissectable("its layers take 'weather', which is not known here")

    options: dict[str, Any] = {"sites": ["attn_out", "k"], "interaction": False}
    fast = mcinterp.patch(pair, TEXTS, engine="fast", **options)
    monkeypatch.setattr(stage_run, "record", refuse)
    monkeypatch.setattr(probe, "known", WeakKeyDictionary())
    reason = "stage 'base' cannot be taken apart into layers .Undissectable: its layers take 'weather'"
    with pytest.warns(UserWarning, match=f"{SLOW}: {reason}") as warned:
        auto = mcinterp.patch(pair, TEXTS, **options)
    assert len([each for each in warned if SLOW in str(each.message)]) == 1
    assert auto.attrs["engine"] == "plain"
    assert "weather" in auto.attrs["engine_reason"]
    assert_same(auto, fast)
    with pytest.raises(InputError, match=f"the fast engine cannot run this: {reason}.*; use the engine auto or plain"):
        mcinterp.patch(pair, TEXTS, engine="fast", **options)


def test_an_interaction_beside_the_patches_does_not_warn_again(pair: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcinterp.intervene.running.why_not", lambda *_: "a reason")
    with pytest.warns(UserWarning, match=SLOW) as warned:
        mcinterp.patch(pair, TEXTS[:1], sites=["z"], layers=0)
    assert len([each for each in warned if SLOW in str(each.message)]) == 1


def test_arguments_of_a_layer_that_are_not_known_are_refused() -> None:
    batch, tensor = pad([(1, 2, 3), (4, 5)]), torch.zeros(2, 3, 4)
    require_known({"position_embeddings": (tensor, tensor), "position_ids": tensor, "flag": True}, batch)
    with pytest.raises(Undissectable, match="its layers take 'weather', which is not known here"):
        require_known({"weather": tensor}, batch)
    with pytest.raises(Undissectable, match="rotary embeddings have another form"):
        require_known({"position_embeddings": (tensor[:, :2],)}, batch)
    with pytest.raises(Undissectable, match="a mask of another form"):
        allowed_keys(torch.zeros(2, 3, 3), batch, "cpu", {})
    with pytest.raises(Undissectable, match="its masks carry biases"):
        allowed_keys(torch.full((2, 1, 3, 3), 0.5), batch, "cpu", {})
    causal = allowed_keys(None, batch, "cpu", {})
    assert torch.equal(causal[0], torch.ones(3, 3).tril().bool())
