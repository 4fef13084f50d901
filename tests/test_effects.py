"""Effects of patched sites: means, shares of the gap, intervals over templates, and the order of cells."""

import numpy as np
import pytest
import xarray as xr

from mcinterp.effects import effects, interaction, main_metric, strongest
from mcinterp.errors import InputError

TEMPLATES = ["a", "a", "b", "c", "c"]


@pytest.fixture
def patched() -> xr.Dataset:
    """Two directions, three sites, four layers; the effect is a known share of a gap that differs between prompts."""
    gap = np.outer([1.0, 3.0, 5.0, 0.0, 1.0], [1.0, -1.0])
    share = np.linspace(-0.2, 1.0, 12).reshape(3, 4)
    recipient = np.arange(10.0).reshape(5, 2)
    axes, cells = ("prompt", "direction"), ("prompt", "direction", "site", "layer")
    values = recipient[:, :, None, None] + gap[:, :, None, None] * share
    return xr.Dataset(
        {
            "attractor_log_odds": (cells, values),
            "attractor_log_odds_recipient": (axes, recipient),
            "attractor_log_odds_donor": (axes, recipient + gap),
            "attractor_log_odds_control": (
                ("control", *cells),
                np.stack([values * 0 + recipient[..., None, None], values]),
            ),
            "attractor_log_odds_interaction": (("prompt", "pair", "layer"), np.ones((5, 1, 4)) * np.arange(4)),
        },
        coords={
            "template": ("prompt", TEMPLATES),
            "direction": ["base_to_tuned", "tuned_to_base"],
            "site": ["resid_pre", "attn_out", "mlp_out"],
            "layer": [0, 1, 2, 3],
            "control": ["noop", "random"],
            "pair": ["base|tuned"],
        },
    )


def test_a_share_is_the_mean_effect_over_the_mean_gap(patched: xr.Dataset) -> None:
    found = effects(patched)
    expected = np.linspace(-0.2, 1.0, 12).reshape(3, 4)
    for direction, sign in (("base_to_tuned", 1), ("tuned_to_base", -1)):
        one = found.sel(direction=direction)
        np.testing.assert_allclose(one["share"], expected, atol=1e-6)
        np.testing.assert_allclose(one["effect"], sign * 2.0 * expected, atol=1e-6)
        assert float(one["gap"]) == sign * 2.0
        np.testing.assert_allclose(one["share_low"], expected, atol=1e-6)
    assert np.abs(found["noop"]).max() == 0
    np.testing.assert_allclose(found["random"], found["effect"], atol=1e-6)


def test_intervals_hold_the_estimate_and_are_missing_for_one_template(patched: xr.Dataset) -> None:
    found = effects(patched)
    moved = np.abs(found["effect"]) > 0.01
    assert (found["effect_low"] <= found["effect"]).all()
    assert (found["effect_high"] >= found["effect"]).all()
    assert (found["effect_high"] > found["effect_low"]).where(moved, True).all()
    alone = effects(patched.assign_coords(template=("prompt", ["a"] * 5)))
    assert alone["effect_low"].isnull().all()
    np.testing.assert_array_equal(alone["effect"], found["effect"])


def test_a_missing_cell_of_a_prompt_does_not_count_its_gap(patched: xr.Dataset) -> None:
    values = patched["attractor_log_odds"].copy()
    values[4, :, 0, 0] = np.nan
    one = effects(patched.assign(attractor_log_odds=values)).sel(direction="base_to_tuned", site="resid_pre", layer=0)
    assert float(one["share"]) == pytest.approx(-0.2, abs=1e-6)
    assert float(one["effect"]) == pytest.approx(-0.2 * 9 / 4, abs=1e-6)


def test_no_share_is_given_where_the_ends_are_equal(patched: xr.Dataset) -> None:
    same = patched.assign(attractor_log_odds_donor=patched["attractor_log_odds_recipient"] + 0.01)
    found = effects(same)
    assert found["share"].isnull().all()
    assert found["effect"].notnull().all()


def test_cells_are_listed_by_the_size_of_their_effect(patched: xr.Dataset) -> None:
    cells = strongest(effects(patched), "tuned_to_base", 3)
    assert [(cell["site"], cell["layer"]) for cell in cells] == [("mlp_out", 3), ("mlp_out", 2), ("mlp_out", 1)]
    assert cells[0]["effect"] == pytest.approx(-2.0)
    assert cells[0]["random"] == pytest.approx(-2.0)
    assert "head" not in cells[0]


def test_interaction_is_averaged_over_prompts(patched: xr.Dataset) -> None:
    found = interaction(patched)
    np.testing.assert_allclose(found["interaction"].values, [[0, 1, 2, 3]])
    np.testing.assert_allclose(found["interaction_low"].values, [[0, 1, 2, 3]])


def test_cells_are_ranked_by_what_was_read(patched: xr.Dataset) -> None:
    assert main_metric(patched) == "attractor_log_odds"
    assert main_metric(patched[[]].assign(entropy=1.0)) == "entropy"
    with pytest.raises(InputError, match="has none of attractor_log_odds, attractor_log_prob"):
        main_metric(patched[[]])


def test_a_metric_of_ones_own_is_found_and_a_strange_one_refused(patched: xr.Dataset) -> None:
    ends = ("", "_donor", "_recipient")
    own = patched[[]].assign({f"mine{end}": patched[f"attractor_log_odds{end}"] for end in ends})
    assert main_metric(own) == "mine"
    assert effects(own, "mine")["effect"].equals(effects(patched)["effect"])
    with pytest.raises(InputError, match="metric 'nope' was not read; give one of mine"):
        effects(own, "nope")
