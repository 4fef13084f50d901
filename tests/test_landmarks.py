"""Named positions, onset and commitment on datasets whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.landmarks import (
    commitment,
    depth_curve,
    depth_name,
    first_kept,
    gap_by_depth,
    landmark_positions,
    mean_entropy,
    most_changed_prompts,
    onset,
    onset_of,
)
from mcinterp.lens import logit_lens
from mcinterp.lens_table import DIMS, SITES
from mcinterp.prompts import Prompts
from mcinterp.sequences import teacher_force

PROMPTS, LAYERS = 8, 3


def made_lens(gap: np.ndarray, *, noise: float = 0.0) -> xr.Dataset:
    """A lens over two stages whose mean entropy gap by unique depth (pre, mid, post, mid, post, ...) is given."""
    random = np.random.default_rng(0)
    shape = (1, 2, PROMPTS, 3, LAYERS, len(SITES))
    entropy = np.full(shape, 3.0)
    places = [(0, 0)] + [(layer, site) for layer in range(LAYERS) for site in (1, 2)]
    for (layer, site), value in zip(places, gap, strict=True):
        entropy[:, 1, :, :, layer, site] += value + noise * random.normal(size=(1, PROMPTS, 3))
    top = np.zeros((*shape, 1), dtype=np.int32)
    coords = {
        "lens": ["own"], "stage": ["base", "tuned"], "prompt": np.arange(PROMPTS), "position": [-1, 0, 1],
        "layer": np.arange(LAYERS), "site": list(SITES), "template": ("prompt", [f"t{i}" for i in range(PROMPTS)]),
        "token_id": (("prompt", "position"), np.ones((PROMPTS, 3), dtype=np.int32)),
    }  # fmt: skip
    return xr.Dataset({"entropy": (DIMS, entropy), "top_token": ((*DIMS, "choice"), top)}, coords=coords)


def test_depth_runs_through_the_unique_points_in_order() -> None:
    curve = depth_curve(made_lens(np.arange(7.0))["entropy"].isel(lens=0, stage=1, prompt=0, position=0))
    assert curve["depth"].values.tolist() == ["0_pre", "0_mid", "0_post", "1_mid", "1_post", "2_mid", "2_post"]
    np.testing.assert_allclose(curve, 3.0 + np.arange(7))


def test_onset_is_where_the_gap_stays_above_half_its_final_value() -> None:
    assert onset_of(np.array([0.0, -3.0, -0.1, -0.6, -0.5, -0.9, -1.0])) == 3
    assert onset_of(np.array([-1.0, -1.0])) == 0
    assert onset_of(np.array([0.0, 0.0, 0.8])) == 2
    assert np.isnan(onset_of(np.array([-5.0, -0.001])))


def test_first_kept_needs_the_condition_to_last() -> None:
    holds = np.array([[True, False, True, True], [True, True, True, False], [True, True, True, True]])
    np.testing.assert_array_equal(first_kept(holds), [2, np.nan, 0])


def test_a_planted_onset_is_found_at_every_place_of_reading() -> None:
    found = onset(made_lens(np.array([0, 0, -0.2, -0.2, -0.9, -1.0, -1.0]), noise=0.02))
    np.testing.assert_array_equal(found["onset"], 4)
    np.testing.assert_array_equal(found["onset_low"], 4)
    assert depth_name(found["depth"].values.tolist(), 4.0) == (1, "resid_post")
    assert float(found["p_value"].isel(depth=-1).max()) < 0.02


def test_swapped_labels_say_when_there_is_no_gap_also_where_the_widest_is_picked() -> None:
    found = onset(made_lens(np.zeros(7), noise=1.0))
    assert float(found["gap"].sel(read_at="widest").isel(depth=-1).max()) < -0.3
    assert float(found["p_value"].isel(depth=-1).min()) > 0.05


def test_the_widest_position_is_picked_after_the_labels_are_swapped() -> None:
    lens = made_lens(np.zeros(7))
    lens["entropy"][:, 1, :, 1] += 2.0
    lens["entropy"][:, 1, :, 2] -= 1.0
    assert bool((gap_by_depth(lens, "widest") == -1.0).all())
    assert bool((gap_by_depth(lens, "widest", swapped=True) == -2.0).all())
    assert bool((gap_by_depth(lens, "last", swapped=True) == -gap_by_depth(lens, "last")).all())


def test_a_gap_of_nothing_has_no_onset() -> None:
    found = onset(made_lens(np.zeros(7)))
    assert bool(found["onset"].isnull().all())
    assert depth_name(found["depth"].values.tolist(), float("nan")) == (None, None)


def test_positions_of_widest_gap_and_parting_are_named() -> None:
    lens = made_lens(np.full(7, -0.5))
    lens["entropy"][:, 1, 2, 2] -= 1.0
    lens["entropy"][:, 1, :, 0] -= 9.0
    lens["top_token"][:, 1, 3, 2] = 5
    lens["top_token"][:, 1, 4, 1:] = 6
    marks = landmark_positions(lens).isel(stage=0)
    assert marks["widest_position"].values.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert float(marks["widest_gap"][2]) == pytest.approx(-1.5)
    np.testing.assert_array_equal(marks["parting_position"], [np.nan, np.nan, np.nan, 1, 0, np.nan, np.nan, np.nan])
    assert marks["parting_token"].values.tolist() == [-1, -1, -1, 5, 6, -1, -1, -1]
    assert marks["parting_token_base"].values.tolist() == [-1, -1, -1, 0, 0, -1, -1, -1]


def test_most_changed_prompts_come_first_one_a_template() -> None:
    lens = made_lens(np.full(7, -0.5)).assign_coords(template=("prompt", list("aabbccdd")))
    for prompt, extra in ((1, 3.0), (0, 2.0), (5, 1.0)):
        lens["entropy"][:, 1, prompt] -= extra
    assert most_changed_prompts(lens, 3)[:2] == [1, 5]
    assert most_changed_prompts(lens, 6)[4] == 0
    assert len(most_changed_prompts(lens, 99)) == PROMPTS


def test_commitment_is_the_depth_from_which_the_top_token_stays() -> None:
    lens = made_lens(np.zeros(7))
    lens["top_token"][0, 1, :, 1, 1:, :] = 9
    lens["top_token"][0, 0, 0, 1, 0, 2] = 4
    found = commitment(lens)["commitment"].isel(lens=0)
    assert found.sel(stage="tuned").values.tolist() == [3.0] * PROMPTS
    assert found.sel(stage="base").values.tolist() == [3.0, *[0.0] * (PROMPTS - 1)]


def test_mean_entropy_is_the_mean_and_its_difference_is_tuned_minus_base() -> None:
    means = mean_entropy(made_lens(np.full(7, -0.75)))
    assert means["stages"]["base"]["mean"] == pytest.approx(3.0)
    assert means["differences"]["tuned"] == pytest.approx({"mean": -0.75, "ci_low": -0.75, "ci_high": -0.75})


def test_the_models_own_distribution_wants_the_own_lens() -> None:
    with pytest.raises(InputError, match="was read by .'other'. only; read it by the lens 'own' too"):
        landmark_positions(made_lens(np.zeros(7)).assign_coords(lens=["other"]))


def test_an_identical_pair_has_no_gap_no_onset_and_never_parts(identical: Chain) -> None:
    sequences = teacher_force(identical, identical.render(Prompts.from_texts(["abc", "de f"])), Decoding(4))
    lens = logit_lens(identical, sequences)
    marks = landmark_positions(lens)
    np.testing.assert_array_equal(marks["widest_gap"], 0.0)
    assert bool(marks["parting_position"].isnull().all())
    assert bool(onset(lens)["onset"].isnull().all())
