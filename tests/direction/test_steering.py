"""Steering against one plain forward pass a cell, and against the tuned stage where the direction is all there is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from transformers import AutoModelForCausalLM

from conftest import Build
from mcinterp.chain import Chain, Stage, load_pair
from mcinterp.direction.attractor import attractor_direction
from mcinterp.direction.doses import Steering
from mcinterp.direction.response import dose_response
from mcinterp.direction.steering import steer
from mcinterp.errors import InputError
from mcinterp.prompts import Prompts

TEXTS = ["Are bugs real?", "one", "Pick a number:", "What is it?"]
PROMPTS = Prompts.from_texts(TEXTS, template=["a", "a", "b", "c"])
NATS = ("entropy", "attractor_log_prob", "attractor_log_odds")
DOSES = {"coefficients": (0, 0.5, 2.0), "draws": 2}


@pytest.fixture(scope="module")
def steered(pair: Chain) -> xr.Dataset:
    """The tiny pair steered at its middle layer."""
    return steer(pair, PROMPTS, attractor_direction(pair, PROMPTS, layer=1), **DOSES)


@torch.inference_mode()
def plain(stage: Stage, ids: list[int], name: str, columns: slice, change: Any) -> torch.distributions.Categorical:
    """The distribution after a sequence whose activation is changed at some tokens, by one forward pass.

    The hook at `resid_mid` is on what the MLP reads, so there the stream behind the layer is given the step too.
    """
    step: list[torch.Tensor] = []

    def edit(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        new = activation.clone()
        new[0, columns] = change(new[0, columns])
        step.append(new - activation)
        return new

    hooks = [(name, edit)]
    if name.endswith("resid_mid"):
        hooks.append((name.replace("resid_mid", "resid_post"), lambda activation, hook: activation + step[0]))
    logits = stage.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[0, -1]
    return torch.distributions.Categorical(logits=logits)


@pytest.mark.parametrize(
    ("architecture", "site", "positions"),
    [
        ("llama", "resid_pre", "all"), ("gpt2", "resid_post", "last"), ("qwen2", "resid_mid", "last"),
        ("gemma2", "mlp_out", "all"), ("olmo2", "attn_out", "last"), ("gpt_neox", "resid_post", "all"),
    ],
)  # fmt: skip
def test_every_cell_is_one_forward_pass(tiny: Build, architecture: str, site: str, positions: Any) -> None:
    pair = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned")))
    direction = attractor_direction(pair, TEXTS[:2], layer=1, site=site)
    found = steer(pair, TEXTS[:2], direction, positions=positions, split=False, coefficients=(0.5, 1.0), draws=1)
    v = torch.as_tensor(direction["direction_vector"].values)
    m, u = torch.as_tensor(direction["residual_recipient"].mean("prompt").values), v / v.norm()
    changes = {
        "add": lambda x, c: x + c * v,
        "ablate": lambda x, c: x - c * torch.outer(x @ u, u),
        "replace": lambda x, c: x - c * torch.outer((x - m) @ u, u),
    }
    columns = slice(None) if positions == "all" else slice(-1, None)
    for operation, change in changes.items():
        stage = pair.base if operation == "add" else pair.tuned
        for dose in (0.5, 1.0):
            ids = pair.base.tokenizer(TEXTS[1]).input_ids
            q = plain(stage, ids, f"blocks.1.hook_{site}", columns, lambda x, d=dose, f=change: f(x, d))
            cell = found.sel(operation=operation, coefficient=dose, control="direction").isel(prompt=1)
            assert float(cell["entropy"]) == pytest.approx(float(q.entropy()), abs=1e-4)
            assert float(cell["attractor_log_prob"]) == pytest.approx(float(q.logits[int(cell["attractor"])]), abs=1e-4)
            assert int(cell["top_token"]) == int(q.logits.argmax())
    assert found.attrs["noise_floor"] < 1e-5


def test_a_dose_of_zero_changes_nothing(steered: xr.Dataset) -> None:
    none = steered.sel(coefficient=0)
    for name in (*NATS, "top_token"):
        for control in steered["control"].values:
            np.testing.assert_array_equal(none[name].sel(control=control), steered[f"{name}_recipient"])
    assert bool((steered["entropy"].sel(coefficient=0.5) != steered["entropy_recipient"]).all())


def test_taking_out_more_than_all_is_missing(steered: xr.Dataset) -> None:
    beyond = steered.sel(coefficient=2.0)
    assert bool(beyond["entropy"].sel(operation="add").notnull().all())
    assert bool(beyond["entropy"].sel(operation=["ablate", "replace"]).isnull().all())
    assert bool((beyond["top_token"].sel(operation="ablate") == -1).all())
    assert steered["steered_stage"].values.tolist() == ["base", "tuned", "tuned"]
    np.testing.assert_array_equal(
        steered["entropy_donor"].sel(operation="add"), steered["entropy_recipient"].sel(operation="ablate")
    )


def test_an_identical_pair_is_not_moved_at_all(identical: Chain) -> None:
    found = steer(identical, PROMPTS, attractor_direction(identical, PROMPTS, layer=1), **DOSES)
    for name in NATS:
        moved = found[name] - found[f"{name}_recipient"]
        assert bool((moved.sel(coefficient=[0, 0.5]) == 0).all())


@pytest.mark.parametrize("architecture", ["llama", "olmo2"])
def test_the_exact_difference_at_the_end_gives_the_tuned_distribution(
    tiny: Build, tmp_path: Path, architecture: str
) -> None:
    folder = tmp_path / "tuned"
    base, tuned = (AutoModelForCausalLM.from_pretrained(tiny(architecture, stage)) for stage in ("base", "tuned"))
    tuned.lm_head.load_state_dict(base.lm_head.state_dict())
    tuned.model.norm.load_state_dict(base.model.norm.state_dict())
    tuned.save_pretrained(folder)
    load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned.tokenizer.save_pretrained(folder)
    pair = load_pair(str(tiny(architecture)), str(folder), names=["base", "tuned"])
    found = steer(pair, TEXTS[:1], attractor_direction(pair, TEXTS[:1], layer=2), split=False, draws=1)
    end = found.sel(operation="add", coefficient=1.0, control="direction")
    for name in NATS:
        np.testing.assert_allclose(end[name], end[f"{name}_donor"], atol=1e-5)
    np.testing.assert_array_equal(end["top_token"], end["top_token_donor"])
    response = dose_response(found, "attractor_log_odds")
    assert float(response["share"].sel(operation="add", coefficient=1.0)) == pytest.approx(1.0, abs=1e-4)
    assert float(response["share"].sel(operation="add", coefficient=0.0)) == 0.0


def test_the_response_is_the_mean_change_beside_random_directions(steered: xr.Dataset) -> None:
    found = dose_response(steered, "entropy")
    change = (steered["entropy"] - steered["entropy_recipient"]).mean("prompt").sel(operation="add")
    mine = found.sel(operation="add")
    np.testing.assert_allclose(mine["effect"], change.sel(control="direction"), atol=1e-6)
    random = change.sel(control=["random 0", "random 1"])
    np.testing.assert_allclose(mine["random_effect"], random.mean("control"), atol=1e-6)
    np.testing.assert_allclose(mine["random_effect_high"], random.max("control"), atol=1e-6)
    gap = (steered["entropy_donor"] - steered["entropy_recipient"]).sel(operation="add").mean("prompt")
    assert float(mine["gap"]) == pytest.approx(float(gap), abs=1e-6)
    assert bool((mine["effect_low"] <= mine["effect_high"]).all())


def test_a_prompt_is_steered_by_the_other_half_of_the_templates(pair: Chain) -> None:
    direction = attractor_direction(pair, PROMPTS, layer=1)
    asked = Steering(direction, ("add",), (1.0,), 3, "last", True, 0)
    templates = direction["template"].values
    for own in "abc":
        used = set(templates[asked.estimated_on(own)].tolist())
        assert used
        assert own not in used
        assert (own in asked.first_half) != bool(used & asked.first_half)
    assert asked.estimated_on("elsewhere").tolist() == [0, 1, 2, 3]
    along = asked.along("a")
    each = (direction["residual_donor"] - direction["residual_recipient"]).values
    np.testing.assert_allclose(along.vectors[0], each[asked.estimated_on("a")].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(along.vectors.norm(dim=-1), float(along.vectors[0].norm()), rtol=1e-5)
    assert len({tuple(vector.tolist()) for vector in along.vectors}) == 4


def test_halves_and_random_directions_are_fixed_by_the_seed(pair: Chain) -> None:
    direction = attractor_direction(pair, PROMPTS, layer=1)
    asked = [Steering(direction, ("add",), (1.0,), 2, "last", True, seed) for seed in (0, 0, 5)]
    vectors = [each.along("a").vectors[1] for each in asked]
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


def test_bad_input_is_refused(pair: Chain) -> None:
    direction = attractor_direction(pair, PROMPTS, layer=1)
    with pytest.raises(InputError, match="got operations \\['push'\\]; give some of add, ablate, replace"):
        steer(pair, PROMPTS, direction, operations=["push"])
    with pytest.raises(InputError, match="give at least one finite number"):
        steer(pair, PROMPTS, direction, coefficients=())
    with pytest.raises(InputError, match="0 random directions were asked for"):
        steer(pair, PROMPTS, direction, draws=0)
    with pytest.raises(InputError, match="does not say its layer"):
        steer(pair, PROMPTS, xr.Dataset())
    alone = attractor_direction(pair, Prompts.from_texts(TEXTS, template=["a"] * 4), layer=1)
    with pytest.raises(InputError, match="estimated on one template, which cannot be split"):
        steer(pair, PROMPTS, alone)
