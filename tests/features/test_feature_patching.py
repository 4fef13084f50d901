"""Patches along features: nothing, all and everything between, against plain patches and the planted direction."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from conftest import Build
from features.dictionaries import LAYER, orthogonal, planted, sparse
from features.test_feature_comparison import activations, last
from mcinterp.chain import Chain, load_pair
from mcinterp.errors import InputError
from mcinterp.features.comparison import compare_features
from mcinterp.features.curve import feature_curve
from mcinterp.features.patching import patch_features
from mcinterp.features.runs import Runs
from mcinterp.features.sets import random_direction, random_features, whole_change
from mcinterp.intervene.inputs import as_sequences
from mcinterp.intervene.metrics import OF_ONE_RUN
from mcinterp.intervene.patching import patch
from mcinterp.intervene.plan import directions_of
from mcinterp.prompts import Prompts
from mcinterp.variables import variable

TEXTS = ["Are bugs real?", "one two", "Pick a number:", "What is it?"]
PROMPTS = Prompts.from_texts(TEXTS, template=["a", "a", "b", "c"])
BOTH = ("base_to_tuned", "tuned_to_base")


pytestmark = pytest.mark.filterwarnings("ignore:The autoencoder explains of the variance")


@pytest.fixture(scope="module")
def patched(pair: Chain) -> xr.Dataset:
    """The tiny pair, patched along a random dictionary."""
    return patch_features(pair, PROMPTS, sparse(), draws=2)


def runs_of(pair: Chain, sae=None, positions="last") -> Runs:
    """Runs of the tuned stage, whose donor is the base."""
    (way,) = directions_of(pair, ["base_to_tuned"], same_run=True)
    return Runs(pair, way, as_sequences(pair, PROMPTS), sae or sparse(), positions, 0, None)


def test_no_feature_is_no_change_at_all(patched: xr.Dataset) -> None:
    for name in OF_ONE_RUN:
        np.testing.assert_array_equal(patched[name].sel(size=0), patched[f"{name}_recipient"])
        none = patched[f"{name}_control"].sel(size=0)
        for control in none["control"].values:
            for draw in none["draw"].values:
                np.testing.assert_array_equal(none.sel(control=control, draw=draw), patched[f"{name}_recipient"])
    assert patched.attrs["noise_floor"] < 1e-5


@pytest.mark.parametrize(
    ("architecture", "site", "positions"),
    [
        ("llama", "resid_post", "last"),
        ("gpt2", "mlp_out", "all"),
        ("qwen2", "resid_mid", "all"),
        ("gemma2", "z", "last"),
    ],
)
def test_all_features_and_the_error_are_the_plain_patch(
    tiny: Build, architecture: str, site: str, positions: str
) -> None:
    pair = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")), names=["base", "tuned"])
    found = patch_features(pair, PROMPTS, sparse(1, site=site), positions=positions, sizes=[0], draws=1)
    plain = patch(pair, PROMPTS, sites=(site,), layers=LAYER, positions=positions, metrics=OF_ONE_RUN, controls=False)
    for name in OF_ONE_RUN:
        ours = found[f"{name}_whole"].sel(whole="site").transpose("prompt", "direction")
        np.testing.assert_allclose(ours, plain[name].isel(site=0, layer=0), atol=1e-4)
        np.testing.assert_allclose(found[f"{name}_donor"], plain[f"{name}_donor"], atol=1e-4)


def test_the_whole_place_is_the_donor_bit_for_bit_and_the_sum_of_its_parts(pair: Chain) -> None:
    runs = runs_of(pair)
    for prompt in range(len(TEXTS)):
        x = runs.own[prompt]
        assert torch.equal(whole_change(runs, prompt, "site")(x), runs.other[prompt])
        in_turn = whole_change(runs, prompt, "error")(whole_change(runs, prompt, "features")(x))
        torch.testing.assert_close(in_turn, runs.other[prompt], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", ["last", "all"])
def test_sets_are_plain_forward_passes(pair: Chain, positions: str) -> None:
    sae, order = sparse(2), [3, 11, 7, 0, 30]
    found = patch_features(pair, PROMPTS, sae, features=order, sizes=[2], positions=positions, draws=1)
    assert found["size"].values.tolist() == [2, 5]
    assert found["feature_rank"].values.tolist() == [order, order]
    for prompt, text in enumerate(TEXTS):
        x, y = (activations(stage, text, sae.hook) for stage in (pair.base, pair.tuned))
        step = (sae.encode(y) - sae.encode(x)).clone()
        step = step if positions == "all" else torch.cat([torch.zeros_like(step[:-1]), step[-1:]])
        for size in (2, 5):
            chosen = step[:, order[:size]] @ sae.W_dec[order[:size]]
            q = last(pair.base, text, sae.hook, lambda a, c=chosen: a + c)
            cell = found.sel(direction="tuned_to_base", size=size).isel(prompt=prompt)
            assert float(cell["entropy"]) == pytest.approx(float(q.entropy()), abs=1e-4)


def test_an_identical_pair_is_not_moved_at_all(identical: Chain) -> None:
    found = patch_features(identical, PROMPTS, sparse(), features=[1, 2, 3], draws=1)
    for name in OF_ONE_RUN:
        ends = found[f"{name}_recipient"]
        assert bool((found[name] - ends == 0).all())
        assert bool((found[f"{name}_whole"] - ends == 0).all())
        assert bool((found[f"{name}_control"].sel(control="random_direction") - ends == 0).all())
    ranked = patch_features(identical, PROMPTS, sparse(), draws=1)
    assert ranked["size"].values.tolist() == [0]
    assert bool((ranked["feature_rank"] == -1).all())


@pytest.mark.parametrize("feature", [4, 21])
def test_the_planted_feature_alone_recovers_all(tiny: Build, tmp_path: Path, feature: int) -> None:
    sae = orthogonal(2)
    pair = planted(tiny("llama"), tmp_path / "planted", sae.W_dec[feature])
    compared = compare_features(pair, PROMPTS, sae, top=2)
    found = patch_features(pair, PROMPTS, sae, features=compared, positions="all", draws=3)
    assert found["feature_rank"].isel(rank=0).values.tolist() == [feature, feature]
    curve = feature_curve(found, draws=20)
    assert abs(curve["gap"].values).min() > 0.1
    np.testing.assert_allclose(curve["share"].sel(size=1), 1.0, atol=0.01)
    np.testing.assert_allclose(curve["site_share"].sel(size=1), 1.0, atol=0.01)
    np.testing.assert_allclose(curve["whole_share"].sel(whole="error"), 0.0, atol=0.01)
    np.testing.assert_allclose(curve["random_features"].sel(size=1), 0.0, atol=0.01)
    recovery = found["attractor_log_odds_recovery"].sel(size=1)
    np.testing.assert_allclose(recovery.where(recovery.notnull(), 1.0), 1.0, atol=0.02)


def test_controls_are_as_long_and_as_many(pair: Chain) -> None:
    runs = runs_of(pair, positions="all")
    step = torch.randn(6, 24, generator=torch.Generator().manual_seed(0))
    x = torch.randn(6, 24, generator=torch.Generator().manual_seed(1))
    moved = random_direction(step, (0, 1))(x) - x
    torch.testing.assert_close(moved.norm(dim=-1), step.norm(dim=-1), rtol=1e-4, atol=1e-4)
    assert float(torch.nn.functional.cosine_similarity(moved, step, dim=-1).abs().max()) < 0.9
    assert random_features(runs, 0, [1, 2, 3, 4], [1, 2, 3, 9], (0,)) is None
    change = random_features(runs, 0, [1, 2, 3, 4], [1, 9, 2], (0,))
    assert change is not None
    own, other = runs.codes(0)
    rest = [3, 4]
    expected = (other.coefficients - own.coefficients)[:, rest] @ runs.sae.W_dec[rest]
    torch.testing.assert_close(change(runs.own[0]) - runs.own[0], expected, rtol=1e-4, atol=1e-4)


def test_the_curve_is_a_ratio_of_means(patched: xr.Dataset) -> None:
    curve, name = feature_curve(patched, "entropy", draws=20), "entropy"
    moved = (patched[name] - patched[f"{name}_recipient"]).mean("prompt")
    gap = (patched[f"{name}_donor"] - patched[f"{name}_recipient"]).mean("prompt")
    site = (patched[f"{name}_whole"].sel(whole="site") - patched[f"{name}_recipient"]).mean("prompt")
    np.testing.assert_allclose(
        curve["share"], (moved / gap).where(abs(gap) >= 0.1).transpose("direction", "size"), rtol=1e-4
    )
    expected = (moved / site).where(abs(site) >= 0.1).transpose("direction", "size")
    np.testing.assert_allclose(curve["site_share"], expected, rtol=1e-4)
    np.testing.assert_allclose(curve["gap"], gap, rtol=1e-4)
    ratio = (patched[name] - patched[f"{name}_recipient"]) / (
        patched[f"{name}_whole"].sel(whole="site") - patched[f"{name}_recipient"]
    )
    there = patched["entropy_site_recovery"].notnull()
    np.testing.assert_allclose(patched["entropy_site_recovery"].where(there, 0), ratio.where(there, 0), rtol=1e-4)


def test_every_variable_is_defined(pair: Chain, patched: xr.Dataset) -> None:
    compared, curve = compare_features(pair, PROMPTS, sparse(), top=1), feature_curve(patched, draws=5)
    own = [name for name in curve if not str(name).startswith(("effect", "share", "gap"))]
    for name in (*compared, *patched, *own):
        assert variable(str(name)) is not None, name


def test_a_later_position_is_read(pair: Chain) -> None:
    sequences = as_sequences(pair, PROMPTS)
    with pytest.raises(InputError, match="read_at"):
        patch_features(pair, sequences, sparse(), read_at=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": [31]}, r"got features \[31\] and the autoencoder has 0 to 30"),
        ({"features": [2, 2]}, "give each one once"),
        ({"features": xr.Dataset()}, "no estimates of the direction 'base_to_tuned'"),
        ({"sizes": []}, r"got sizes \[\]; give some numbers"),
        ({"draws": 0}, "0 random sets were asked for"),
        ({"metric": "kl"}, "metric 'kl' is unknown"),
        ({"directions": ["base_to_tea"]}, "direction 'base_to_tea' is unknown"),
    ],
)
def test_what_does_not_exist_is_refused(pair: Chain, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        patch_features(pair, PROMPTS, sparse(), **options)


def test_a_ranking_of_another_autoencoder_is_refused(pair: Chain) -> None:
    compared = compare_features(pair, PROMPTS, orthogonal(), top=0)
    with pytest.raises(InputError, match="the ranking is of 24 features and the autoencoder has 31"):
        patch_features(pair, PROMPTS, sparse(), features=compared)
