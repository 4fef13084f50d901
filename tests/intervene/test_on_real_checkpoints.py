"""Patches of checkpoints that were trained: the shipped chain, and real ones where there are some."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from patching_reference import activations, ends_at, measures, patched

import mcinterp
from mcinterp.chain import Chain, load_pair
from mcinterp.completions import Decoding
from mcinterp.prompts import Prompts

QUESTIONS = ["Q: What is a bond?\nA:", "First Citizen:\n", "Q: What is tax?\nA:"]


def numbers(count: int) -> Prompts:
    """Prompts of the shipped battery that ask for a random number."""
    battery = Prompts.battery("pocket")
    found = [i for i, p in enumerate(battery.items) if p.metadata["genre"] == "number-100"]
    return battery.select(found[:count])


def assert_cells_are_plain_runs(
    chain: Chain, result: xr.Dataset, ids: tuple[int, ...], prompt: int, direction: str, ends: tuple[int, int]
) -> None:
    """Every cell of one prompt and direction at the last position against the reference."""
    donor, recipient = (chain.stages[end] for end in ends)
    given, clean = activations(donor, ids), ends_at(chain, "base_to_tuned", ids)
    later = activations(chain.stages[max(ends)], ids)["unembed.hook_out"][0, -1]
    ended = [patched(stage, ids, given, [], [], [])[-1] for stage in (donor, recipient)]
    for site in result["site"].values.tolist():
        for layer in result["layer"].values.tolist():
            q = patched(recipient, ids, given, [site], [layer], [len(ids) - 1])[-1]
            expected = measures(q, *ended, clean["base"], int(later.argmax()))
            cell = result.isel(prompt=prompt).sel(direction=direction, site=site, layer=layer)
            for name, value in expected.items():
                assert float(cell[name]) == pytest.approx(value, abs=1e-4), (name, site, layer)


def test_the_bases_late_residual_undoes_the_collapse_of_the_shipped_chain(pocket: Chain) -> None:
    prompts = numbers(4)
    result = mcinterp.patch(
        pocket, prompts, sites=["resid_pre", "attn_out", "resid_post"], directions=["base_to_sft", "sft_to_base"],
        verify=5,
    )  # fmt: skip
    assert result.attrs["engine"] == "fast"
    assert result.attrs["noise_floor"] <= 1e-5
    assert result.attrs["verified_difference"] <= 1e-4
    for prompt, ids in enumerate(pocket.render(prompts).token_ids):
        assert_cells_are_plain_runs(pocket, result, ids, prompt, "base_to_sft", (0, 1))
    mean = result.mean("prompt")
    late = {"site": "resid_post", "layer": int(result["layer"].max())}
    undone, brought = (mean["entropy"].sel(direction=name, **late) for name in ("base_to_sft", "sft_to_base"))
    recipient = mean["entropy_recipient"]
    assert float(undone) > float(recipient.sel(direction="base_to_sft")) + 2.0
    assert float(brought) < float(recipient.sel(direction="sft_to_base")) - 2.0
    first = mean["entropy"].sel(direction="base_to_sft", site="resid_pre", layer=0)
    assert abs(float(first - recipient.sel(direction="base_to_sft"))) < 1.0
    shift = mean["attractor_log_prob"].sel(direction="base_to_sft", **late)
    assert float(shift) < float(mean["attractor_log_prob_recipient"].sel(direction="base_to_sft")) - 2.0


@pytest.fixture(scope="module")
def trained(real: Path) -> Chain:
    """A small pair that was trained elsewhere."""
    return load_pair(str(real / "own-gpt-base"), str(real / "own-gpt-sft"), names=["base", "tuned"])


def test_a_real_pair_is_patched_like_one_forward_pass_per_cell(trained: Chain) -> None:
    sites = ["resid_pre", "resid_mid", "attn_out", "mlp_out", "z", "q", "pattern", "mlp_post"]
    result = mcinterp.patch(trained, QUESTIONS, sites=sites)
    assert result.attrs["engine"] == "fast"
    assert result.attrs["noise_floor"] <= 1e-5
    for prompt, ids in enumerate(trained.render(Prompts.from_texts(QUESTIONS)).token_ids):
        assert_cells_are_plain_runs(trained, result, ids, prompt, "base_to_tuned", (0, 1))
        assert_cells_are_plain_runs(trained, result, ids, prompt, "tuned_to_base", (1, 0))


def test_a_real_pair_writes_until_its_context_ends(trained: Chain) -> None:
    prompts, steps = ["First Citizen:\n", "Q: What is a bond?\nA: It is "], Decoding(24)
    result = mcinterp.generate_patched(trained, prompts, sites=["resid_post"], layers=1, decoding=steps)
    room = [32 - len(ids) for ids in trained.render(Prompts.from_texts(prompts)).token_ids]
    assert [int(result["n_tokens"].isel(prompt=p).max()) <= min(24, room[p]) for p in range(2)] == [True, True]
    noop = result.sel(control="noop").squeeze()
    np.testing.assert_array_equal(noop["token_id_control"], result["token_id_recipient"].squeeze())
    np.testing.assert_allclose(noop["entropy_control"], result["entropy_recipient"].squeeze(), atol=1e-5)


def test_a_real_checkpoint_against_itself_shows_no_effect(real: Path) -> None:
    pair = load_pair(str(real / "stories260K"), str(real / "stories260K"))
    directions = [f"{a}_to_{b}" for a, b in (pair.names, pair.names[::-1])]
    texts = ["Once upon a time there was a", "Lily saw a big"]
    result = mcinterp.patch(pair, texts, directions=directions, sites=["resid_pre", "z", "kv"], positions="all")
    assert float(abs(result["kl_to_recipient"]).max()) < 2e-6
    assert float(abs(result["entropy"] - result["entropy_recipient"]).max()) < 1e-5
    assert float(abs(result["entropy_interaction"]).max()) < 2e-5
    assert np.isnan(result["entropy_recovery"]).all()
    shuffled = result["kl_to_recipient_control"].sel(control="shuffled", site="resid_pre")
    assert float(shuffled.max()) > 0.1
