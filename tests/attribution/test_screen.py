"""Attribution patching: the derivative of the exact patch, and the exact sweep of its strongest cells."""

import numpy as np
import pytest
import torch

import mcinterp
from conftest import SHAPES, Build
from mcinterp.attribution.screen import attribution_patching, rank_correlations
from mcinterp.chain import Chain, load_pair
from mcinterp.divergence import entropy, log_probs
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.intervene.sites import hook_name

TEXTS = ["Are bugs real?", "one", "ab c"]
STEP = 1e-3


def finite_difference(chain: Chain, site: str, layer: int, text: str, columns, head=None) -> float:
    """The slope of the tuned stage's entropy as the base's activation is mixed in, by two runs under hooks."""
    ids, name = torch.tensor(as_sequences(chain, [text]).ids), hook_name(site, layer)
    with torch.inference_mode():
        _, donor = chain.base.bridge.run_with_cache(ids, names_filter=[name])

        def run(step: float) -> float:
            def mix(activation: torch.Tensor, hook: object) -> torch.Tensor:
                mixed = activation.clone()
                own, other = (a[0, columns] if head is None else a[0, columns, head] for a in (activation, donor[name]))
                value = own.double() + step * (other.double() - own.double())
                if head is None:
                    mixed[0, columns] = value.to(mixed.dtype)
                else:
                    mixed[0, columns, head] = value.to(mixed.dtype)
                return mixed

            logits = chain.tuned.bridge.run_with_hooks(ids, fwd_hooks=[(name, mix)])
            return float(entropy(log_probs(logits[0, -1].double())))

        return (run(STEP) - run(-STEP)) / (2 * STEP)


@pytest.mark.parametrize("architecture", SHAPES)
def test_estimates_are_slopes_of_the_real_effect(tiny: Build, architecture: str) -> None:
    chain = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")), dtype="float64")
    options = {"metric": "entropy", "directions": ["base_to_tuned"]}
    last = attribution_patching(chain, TEXTS, **options)["estimate"].isel(direction=0)
    every = attribution_patching(chain, TEXTS, positions="all", sites=("resid_post",), **options)["estimate"]
    for prompt, text in enumerate(TEXTS):
        for site in ("resid_pre", "attn_out", "mlp_out"):
            slope = finite_difference(chain, site, 1, text, [-1])
            assert float(last.sel(prompt=prompt, site=site, layer=1)) == pytest.approx(slope, abs=1e-4, rel=1e-3)
        slope = finite_difference(chain, "resid_post", 1, text, slice(None))
        assert float(every.sel(prompt=prompt, layer=1).item()) == pytest.approx(slope, abs=1e-4, rel=1e-3)


def test_heads_are_told_apart(pair: Chain) -> None:
    found = attribution_patching(
        pair, TEXTS, sites=("z", "v"), heads="each", metric="entropy", directions=["base_to_tuned"]
    )
    one = found["estimate"].isel(direction=0)
    slope = finite_difference(pair, "z", 2, TEXTS[0], [-1], head=3)
    assert float(one.sel(site="z", layer=2, head=3, prompt=0)) == pytest.approx(slope, abs=2e-3)
    assert one.sel(site="v", head=[2, 3]).isnull().all()
    whole = attribution_patching(pair, TEXTS, sites=("z",), metric="entropy", directions=["base_to_tuned"])["estimate"]
    np.testing.assert_allclose(one.sel(site="z").sum("head"), whole.isel(direction=0, site=0), atol=1e-5)


def test_the_strongest_cells_are_patched_exactly(pair: Chain) -> None:
    found = attribution_patching(pair, TEXTS, exact=4)
    swept = mcinterp.patch(pair, TEXTS, metrics=("attractor_log_odds",), controls=False)
    real = swept["attractor_log_odds"] - swept["attractor_log_odds_recipient"]
    ran = found["exact"].notnull()
    assert (ran.sum(["prompt", "site", "layer"]) == 4 * len(TEXTS)).all()
    np.testing.assert_allclose(found["exact"].where(ran, 0), real.where(ran, 0), atol=1e-5)
    least = np.abs(found["estimate"].mean("prompt")).where(ran.any("prompt")).min(["site", "layer"])
    most = np.abs(found["estimate"].mean("prompt")).where(~ran.any("prompt")).max(["site", "layer"])
    assert (least >= most).all()
    assert found["rank_correlation"].dims == ("direction",)


def test_a_linear_end_is_estimated_exactly_in_small_steps(identical: Chain) -> None:
    found = attribution_patching(identical, TEXTS, exact=3)
    assert (found["estimate"] == 0).all()
    assert np.abs(found["exact"].fillna(0)).max() < 1e-5


def test_rank_correlation_is_spearmans() -> None:
    import xarray as xr

    values = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    other = np.array([[10.0, 20.0, 25.0, 90.0], [4.0, 3.0, np.nan, 1.0]])
    one, two = (xr.DataArray(v, dims=("direction", "layer"), coords={"direction": ["a", "b"]}) for v in (values, other))
    np.testing.assert_allclose(rank_correlations(one, two), [1.0, -1.0])


def test_weights_keep_their_gradient_flags_and_hooks_are_gone(pair: Chain) -> None:
    attribution_patching(pair, TEXTS)
    for stage in pair.stages:
        assert all(p.requires_grad and p.grad is None for p in stage.bridge.original_model.parameters())
        assert not any(point.fwd_hooks for point in stage.bridge.hook_dict.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "kl_to_tuned"}, "metric 'kl_to_tuned' compares with an end, whose gradient there is zero"),
        ({"sites": (("attn_out", "mlp_out"),)}, "cannot be screened by gradients; give single sites"),
        ({"sites": ("final_scale",)}, "site 'final_scale' cannot be screened by gradients"),
        ({"layers": 3}, "the model has layers 0 to 2"),
    ],
)
def test_bad_requests_are_refused(pair: Chain, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attribution_patching(pair, TEXTS, **options)
