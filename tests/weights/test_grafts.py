"""Grafts, ranges, interpolation and Shapley values of groups of weights."""

from itertools import permutations

import numpy as np
import pytest
import torch

from mcinterp.chain import Chain
from mcinterp.divergence import entropy, log_probs
from mcinterp.errors import InputError
from mcinterp.intervene.inputs import as_sequences
from mcinterp.results import load, save
from mcinterp.weights.grafts import graft_sweep, grafted, interpolate, interpolated
from mcinterp.weights.groups import groups_of
from mcinterp.weights.shapley import graft_shapley, sampled
from mcinterp.weights.tensors import slots_of

TEXTS = ["Are bugs real?", "one", "ab c"]


def entropies(chain: Chain, stage) -> list[float]:
    """The entropy after each prompt, one forward pass a prompt."""
    ids = as_sequences(chain, TEXTS).ids
    with torch.inference_mode():
        return [float(entropy(log_probs(stage.bridge(torch.tensor([each]))[0, -1]))) for each in ids]


def mixed(chain: Chain, tuned_layers: set[int], *, ends: bool) -> list[float]:
    """Entropies of the base with some layers of the tuned stage, by exchanging whole blocks' state."""
    own, theirs = slots_of(chain.base), slots_of(chain.tuned)
    before = {name: slot.tensor.clone() for name, slot in own.items()}
    try:
        for name, slot in own.items():
            if (slot.layer in tuned_layers) if slot.layer is not None else ends:
                slot.holder._parameters[slot.attribute].data.copy_(theirs[name].tensor)
        return entropies(chain, chain.base)
    finally:
        for name, slot in own.items():
            slot.holder._parameters[slot.attribute].data.copy_(before[name])


def test_a_graft_is_the_same_as_exchanging_the_weights_for_good(pair: Chain) -> None:
    found = graft_sweep(pair, TEXTS, by="layer", metrics=["entropy"])
    for layer in range(3):
        one = found["entropy"].sel(component=f"layer {layer}")
        np.testing.assert_allclose(one.sel(direction="tuned_to_base"), mixed(pair, {layer}, ends=False), atol=1e-5)
        rest = {0, 1, 2} - {layer}
        np.testing.assert_allclose(one.sel(direction="base_to_tuned"), mixed(pair, rest, ends=True), atol=1e-5)
    np.testing.assert_allclose(
        found["entropy_donor"].sel(direction="tuned_to_base"), entropies(pair, pair.tuned), atol=1e-5
    )


def test_cumulative_grafts_grow_from_either_end(pair: Chain) -> None:
    options = {
        "by": "layer",
        "directions": ["tuned_to_base"],
        "metrics": ["entropy"],
        "groups": [f"layer {i}" for i in range(3)],
    }
    up, down = (
        graft_sweep(pair, TEXTS, order=order, **options)["entropy"].isel(direction=0) for order in ("up", "down")
    )
    for layer in range(3):
        name = f"layer {layer}"
        np.testing.assert_allclose(up.sel(component=name), mixed(pair, set(range(layer + 1)), ends=False), atol=1e-5)
        np.testing.assert_allclose(down.sel(component=name), mixed(pair, set(range(layer, 3)), ends=False), atol=1e-5)


def test_ranges_are_all_contiguous_runs_of_layers(pair: Chain) -> None:
    found = graft_sweep(pair, TEXTS, order="ranges", directions=["tuned_to_base"], metrics=["entropy"])
    assert found["component"].values.tolist() == [
        f"layers {i} to {j}" for i in range(3) for j in range(i, 3)
    ]  # fmt: skip
    one = found["entropy"].sel(component="layers 1 to 2", direction="tuned_to_base")
    np.testing.assert_allclose(one, mixed(pair, {1, 2}, ends=False), atol=1e-5)


def test_groups_can_be_grafted_together(pair: Chain) -> None:
    names = [group.name for group in groups_of(pair.base, "component")]
    found = graft_sweep(pair, TEXTS, groups={"all": names}, directions=["base_to_tuned"])
    for metric in ("entropy", "attractor_log_odds"):
        np.testing.assert_array_equal(found[metric].isel(component=0), found[f"{metric}_donor"])
        recovery = found[f"{metric}_recovery"]
        assert np.all((recovery == 1) | recovery.isnull())
    assert np.abs(found["kl_to_base"]).max() < 1e-6


def test_an_identical_pair_is_not_moved(identical: Chain) -> None:
    found = graft_sweep(identical, TEXTS)
    assert (found["entropy"] == found["entropy_recipient"]).all()
    assert found["entropy_recovery"].isnull().all()
    assert "the ends differ by 0" in str(found["entropy_recovery_missing"].values[0, 0])


def test_everything_inside_sees_the_grafted_stage(pair: Chain) -> None:
    clean = entropies(pair, pair.tuned)
    with grafted(pair, ["1.mlp"]) as stage:
        assert stage is pair.tuned
        inside = entropies(pair, stage)
    expected = graft_sweep(pair, TEXTS, groups=["1.mlp"], directions=["base_to_tuned"], metrics=["entropy"])
    np.testing.assert_allclose(inside, expected["entropy"].values.ravel(), atol=1e-5)
    assert inside != clean
    assert entropies(pair, pair.tuned) == clean


def test_interpolation_ends_at_both_stages_bit_for_bit(pair: Chain) -> None:
    theirs, before = slots_of(pair.tuned), {n: s.tensor.clone() for n, s in slots_of(pair.base).items()}
    for alpha, wanted in ((0.0, before), (1.0, {name: slot.tensor for name, slot in theirs.items()})):
        with interpolated(pair, alpha) as stage:
            assert all(torch.equal(slot.tensor, wanted[name]) for name, slot in slots_of(stage).items())
    with interpolated(pair, 1.5, ["unembed"]) as stage:
        step = theirs["unembed.weight"].tensor - before["unembed.weight"]
        torch.testing.assert_close(slots_of(stage)["unembed.weight"].tensor, before["unembed.weight"] + 1.5 * step)
        assert torch.equal(slots_of(stage)["embed.weight"].tensor, before["embed.weight"])
    assert all(torch.equal(slot.tensor, before[name]) for name, slot in slots_of(pair.base).items())


def test_metrics_along_the_path(pair: Chain) -> None:
    found = interpolate(pair, TEXTS, alphas=(0.0, 0.5, 1.0))
    np.testing.assert_allclose(found["entropy"].sel(alpha=0), entropies(pair, pair.base), atol=1e-5)
    np.testing.assert_allclose(found["entropy"].sel(alpha=1), entropies(pair, pair.tuned), atol=1e-5)
    assert np.abs(found["kl_to_tuned"].sel(alpha=1)).max() < 1e-6
    assert np.abs(found["kl_to_base"].sel(alpha=0)).max() < 1e-6


def test_shapley_values_sum_and_equal_the_mean_over_all_orders(pair: Chain) -> None:
    found = graft_shapley(pair, TEXTS, "entropy", by="kind", orders=60, seed=1)
    np.testing.assert_allclose(found["shapley"].sum("component"), found["total"], atol=1e-5)
    names = found["component"].values.tolist()
    value = {}
    for size in range(6):
        for subset in {tuple(sorted(p[:size])) for p in permutations(range(5))}:
            groups = {"some": [names[i] for i in subset]}
            value[subset] = (
                np.asarray(entropies(pair, pair.base))
                if not subset
                else graft_sweep(
                    pair, TEXTS, by="kind", groups=groups, directions=["tuned_to_base"], metrics=["entropy"]
                )["entropy"].values[:, 0, 0]
            )
    exact = np.zeros((3, 5))
    for order in permutations(range(5)):
        for place, who in enumerate(order):
            with_it, without = tuple(sorted(order[: place + 1])), tuple(sorted(order[:place]))
            exact[:, who] += (value[with_it] - value[without]) / 120
    gap = np.abs(found["shapley"].values - exact)
    assert (gap <= 4 * found["shapley_error"].values + 1e-5).all()
    assert gap.max() < 0.1


def test_orders_come_in_pairs_that_mirror_each_other() -> None:
    orders = [order.tolist() for order in sampled(5, 6, seed=0)]
    assert orders[1] == orders[0][::-1]
    assert orders[4] == orders[5][::-1]
    assert orders[0] != orders[2]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)


def test_results_say_their_units_and_come_back_from_disk(pair: Chain, tmp_path) -> None:
    found = graft_sweep(pair, TEXTS[:1])
    assert [name for name in found.data_vars if "units" not in found[name].attrs] == []
    assert load(save(found, tmp_path / "grafts.nc")).equals(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "sideways"}, "order 'sideways' is unknown; give one of each, up, down, ranges"),
        ({"metrics": ["joy"]}, "metric 'joy' is unknown"),
        ({"groups": ["9.mlp"]}, "got '9.mlp' for groups by component"),
        ({"directions": ["up_to_down"]}, "direction 'up_to_down' is unknown"),
        ({"directions": ["base_to_base"]}, "puts a run's own activations back"),
    ],
)
def test_bad_requests_are_refused(pair: Chain, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        graft_sweep(pair, TEXTS, **options)


def test_few_orders_are_refused(pair: Chain) -> None:
    with pytest.raises(InputError, match="got 3 orders; give an even number of at least 4"):
        graft_shapley(pair, TEXTS, orders=3)
