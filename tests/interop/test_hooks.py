"""Hooks for `run_with_hooks`: one cell of `patch` or one dose of `steer`, in TransformerLens' own forward pass."""

from typing import Any

import numpy as np
import pytest
import torch

import mcinterp
from interop.conftest import NAMES
from mcinterp.chain import Chain
from mcinterp.divergence import log_probs
from mcinterp.errors import InputError

TEXT = "Pick a random number from 0 to 100:"
TOLERANCE = 2e-5
SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "q", "k", "v", "mlp_post", "pattern")
WAYS = {"base_to_tuned": NAMES, "tuned_to_base": NAMES[::-1]}


@pytest.fixture(scope="module")
def tokens(loaded: Chain) -> torch.Tensor:
    """One prompt."""
    return torch.tensor(loaded.render(mcinterp.Prompts.from_texts([TEXT])).token_ids)


@pytest.fixture(scope="module")
def caches(bridges: dict[str, Any], tokens: torch.Tensor) -> dict[str, Any]:
    """The clean activations of both."""
    with torch.no_grad():
        return {name: bridge.run_with_cache(tokens)[1] for name, bridge in bridges.items()}


def read(bridge: Any, tokens: torch.Tensor, hooks: Any, token: int) -> float:
    """The log-probability of a token after a run under hooks."""
    with torch.no_grad():
        return float(log_probs(bridge.run_with_hooks(tokens, fwd_hooks=hooks)[0, -1])[token])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("positions", ["last", "all", [-3, -1]])
def test_patch_hooks_are_the_cells_of_patch(
    way: str, positions: Any, loaded: Chain, bridges: dict[str, Any], caches: dict[str, Any], tokens: torch.Tensor
) -> None:
    donor, recipient = WAYS[way]
    swept = mcinterp.patch(
        loaded, [TEXT], sites=SITES, positions=positions, directions=[way], controls=False, interaction=False,
        metrics=["attractor_log_prob"], attractor=542,
    )["attractor_log_prob"].isel(prompt=0, direction=0)  # fmt: skip
    for site in SITES:
        for layer in (0, 3, 5):
            hooks = mcinterp.patch_hooks(caches[donor], site, layer, positions)
            found = read(bridges[recipient], tokens, hooks, 542)
            assert abs(found - float(swept.sel(site=site, layer=layer))) < TOLERANCE, (site, layer)


def test_heads_neurons_joint_sites_and_windows_are_the_cells_of_patch(
    loaded: Chain, bridges: dict[str, Any], caches: dict[str, Any], tokens: torch.Tensor
) -> None:
    asked = {"directions": ["base_to_tuned"], "controls": False, "interaction": False, "attractor": 542}
    asked |= {"metrics": ["attractor_log_prob"]}
    name, run = "attractor_log_prob", bridges["sft"]
    heads = mcinterp.patch(loaded, [TEXT], sites=["z", "pattern"], heads="each", **asked)[name].squeeze()
    for site in ("z", "pattern"):
        for head in range(4):
            hooks = mcinterp.patch_hooks(caches["base"], site, 4, heads=head)
            wanted = float(heads.sel(site=site, layer=4, head=head))
            assert abs(read(run, tokens, hooks, 542) - wanted) < TOLERANCE
    neurons = mcinterp.patch(loaded, [TEXT], sites=["mlp_post"], neurons=[3, 77, 200], **asked)[name].squeeze()
    hooks = mcinterp.patch_hooks(caches["base"], "mlp_post", 5, neurons=[3, 77, 200])
    assert abs(read(run, tokens, hooks, 542) - float(neurons.sel(layer=5))) < TOLERANCE
    joint = mcinterp.patch(loaded, [TEXT], sites=[("attn_out", "mlp_out")], window=2, **asked)[name].squeeze()
    hooks = mcinterp.patch_hooks(caches["base"], ("attn_out", "mlp_out"), [2, 3])
    assert abs(read(run, tokens, hooks, 542) - float(joint.sel(layer=2))) < TOLERANCE
    both = mcinterp.patch(loaded, [TEXT], sites=["kv"], positions="all", **asked)[name].squeeze()
    hooks = mcinterp.patch_hooks(caches["base"], "kv", 1, "all")
    assert abs(read(run, tokens, hooks, 542) - float(both.sel(layer=1))) < TOLERANCE
    scale = mcinterp.patch(loaded, [TEXT], sites=["final_scale"], **asked)[name].squeeze()
    hooks = mcinterp.patch_hooks(caches["base"], "final_scale", 5)
    assert abs(read(run, tokens, hooks, 542) - float(scale.sel(layer=5))) < TOLERANCE


def test_own_activations_put_back_change_nothing_and_a_batch_is_patched_row_by_row(
    bridges: dict[str, Any], caches: dict[str, Any], tokens: torch.Tensor
) -> None:
    run = bridges["sft"]
    with torch.no_grad():
        clean = run(tokens)
        hooks = mcinterp.patch_hooks(caches["sft"], ("resid_pre", "resid_mid", "z"), range(6), "all")
        assert torch.equal(run.run_with_hooks(tokens, fwd_hooks=hooks), clean)
        assert torch.equal(run.run_with_hooks(tokens, fwd_hooks=hooks), clean), "hooks run more than once"
        assert torch.equal(run(tokens), clean)
        two = torch.cat([tokens, tokens.flip(1)])
        cache = bridges["base"].run_with_cache(two)[1]
        both = run.run_with_hooks(two, fwd_hooks=mcinterp.patch_hooks(cache, "resid_mid", 2))
        one = run.run_with_hooks(tokens, fwd_hooks=mcinterp.patch_hooks(caches["base"], "resid_mid", 2))
    assert torch.allclose(both[:1], one, atol=1e-4)


def test_hooks_that_cannot_be_made_or_run_are_refused(
    bridges: dict[str, Any], caches: dict[str, Any], tokens: torch.Tensor
) -> None:
    cache = caches["base"]
    for asked, said in [
        (("nowhere", 0), "site 'nowhere' is unknown"),
        (("mlp_out", 9), "lacks blocks.9.hook_mlp_out"),
        (("mlp_out", []), "no layer was given"),
        (("mlp_out", 0, "first"), "positions 'first' is unknown"),
        (("mlp_out", 0, -99), r"got positions \[-99\]"),
        (("mlp_out", 0, []), r"got positions \[\]"),
    ]:
        with pytest.raises(InputError, match=said):
            mcinterp.patch_hooks(cache, *asked)
    with pytest.raises(InputError, match="site 'mlp_out' has no heads"):
        mcinterp.patch_hooks(cache, "mlp_out", 0, heads=1)
    with pytest.raises(InputError, match="4 was asked for at 'z'"):
        mcinterp.patch_hooks(cache, "z", 0, heads=4)
    with pytest.raises(InputError, match="site 'z' has no neurons"):
        mcinterp.patch_hooks(cache, "z", 0, neurons=[1])
    with pytest.raises(InputError, match="both chosen"):
        mcinterp.patch_hooks(cache, "z", 0, heads=1, neurons=[1])
    with pytest.raises(InputError, match="no head or neuron was given"):
        mcinterp.patch_hooks(cache, "z", 0, heads=[])
    hooks = mcinterp.patch_hooks(cache, "mlp_out", 0)
    with pytest.raises(InputError, match="run the tokens that the donor was run on"):
        bridges["sft"].run_with_hooks(tokens[:, 1:], fwd_hooks=hooks)
    assert all(not point.fwd_hooks for point in bridges["sft"].hook_dict.values())


PROMPTS = mcinterp.Prompts.from_texts([TEXT, "Are bugs real?", "Are bees real?", "Flip a coin."], template=list("abbc"))
TEXTS = [prompt.text for prompt in PROMPTS.items]


@pytest.mark.parametrize("site", ["resid_post", "resid_mid", "mlp_out"])
@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("split", [True, False])
def test_steering_hooks_are_the_doses_of_steer(
    site: str, positions: Any, split: bool, loaded: Chain, bridges: dict[str, Any]
) -> None:
    direction = mcinterp.attractor_direction(loaded, PROMPTS, layer=3, site=site)
    doses = (0.0, 0.5, 1.0)
    wanted = mcinterp.steer(
        loaded, PROMPTS, direction, coefficients=doses, positions=positions, split=split, draws=1, attractor=542
    )["attractor_log_prob"].sel(control="direction")
    for number, prompt in enumerate(PROMPTS.items):
        ids = torch.tensor(loaded.render(PROMPTS).token_ids[number])[None]
        for operation, stage in (("add", "base"), ("ablate", "sft"), ("replace", "sft")):
            for dose in doses:
                hooks = mcinterp.steering_hooks(
                    direction, dose, operation=operation, positions=positions,
                    template=prompt.template if split else None,
                )  # fmt: skip
                found = read(bridges[stage], ids, hooks, 542)
                cell = wanted.isel(prompt=number).sel(operation=operation, coefficient=dose)
                assert abs(found - float(cell)) < TOLERANCE, (operation, dose)


def test_steering_that_means_nothing_is_refused(loaded: Chain) -> None:
    direction = mcinterp.attractor_direction(loaded, TEXTS, layer=3)
    with pytest.raises(InputError, match="got operations"):
        mcinterp.steering_hooks(direction, 1.0, operation="multiply")
    with pytest.raises(InputError, match="at least one finite number"):
        mcinterp.steering_hooks(direction, np.nan)
    with pytest.raises(InputError, match="ablate takes doses from 0 to 1"):
        mcinterp.steering_hooks(direction, 2.0, operation="ablate")
    with pytest.raises(InputError, match="does not say its layer"):
        mcinterp.steering_hooks(direction.drop_attrs(), 1.0)
