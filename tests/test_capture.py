"""Captured activations: what batching may not change, and hooks that never stay."""

import pytest
import torch

from conftest import SHAPES, Build
from mcinterp.batching import batches, pad
from mcinterp.capture import Activations, capture, capture_residuals, residual_points, run_with
from mcinterp.chain import Chain, Stage, load_pair

RAGGED = [(3, 14, 15, 9, 2, 6, 5), (35,), (8, 9, 7, 9), (3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8)]


def residuals(stage: Stage, sequences: list[tuple[int, ...]], **options: object) -> dict[int, torch.Tensor]:
    """Every sequence's residual stream, point by token by width."""
    found = {}
    for activations in capture_residuals(stage, sequences, **options):
        for row, index in enumerate(activations.batch.indices):
            found[index] = torch.stack([cells(activations, point.hook, row) for point in residual_points(stage)])
    return found


def cells(activations: Activations, hook: str, row: int) -> torch.Tensor:
    """The activations of one row where it has tokens."""
    return activations[hook][row][activations.batch.present[row]]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", SHAPES)
def test_a_sequence_gives_the_same_alone_and_in_any_batch(tiny: Build, architecture: str, side: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned
    together = residuals(stage, RAGGED, side=side)
    for index, sequence in enumerate(RAGGED):
        alone = residuals(stage, [sequence])[0]
        torch.testing.assert_close(together[index], alone, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", SHAPES)
def test_points_are_the_models_own_hidden_states(tiny: Build, architecture: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny(architecture, "tuned")
    stage = load_pair(str(tiny(architecture)), str(folder)).tuned
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.inference_mode():
        states = plain(torch.tensor([RAGGED[0]]), output_hidden_states=True).hidden_states
    points = residual_points(stage)
    mine = residuals(stage, [RAGGED[0]])[0]
    for layer in range(stage.n_layers - 1):
        torch.testing.assert_close(
            mine[points.index((layer, "resid_post"))], states[layer + 1][0], atol=1e-5, rtol=1e-5
        )


def test_small_memory_gives_more_batches_and_the_same_numbers(pair: Chain) -> None:
    generous, tight = residuals(pair.base, RAGGED), residuals(pair.base, RAGGED, max_bytes=1)
    for index in range(len(RAGGED)):
        torch.testing.assert_close(generous[index], tight[index], atol=1e-5, rtol=1e-5)
    assert len(list(batches(RAGGED, max_tokens=1))) == 4


def test_hooks_are_gone_after_a_run_and_after_an_error(pair: Chain) -> None:
    stage, batch = pair.base, pad(RAGGED)
    before = run_with(stage, batch, [])

    def explode(activation: torch.Tensor, hook: object) -> None:
        raise RuntimeError("inside a hook")

    capture(stage, batch, ["blocks.1.hook_resid_mid"])
    with pytest.raises(RuntimeError, match="inside a hook"):
        run_with(stage, batch, [("blocks.0.hook_resid_post", explode)])
    assert all(not point.fwd_hooks for point in stage.bridge.hook_dict.values())
    assert torch.equal(run_with(stage, batch, []), before)


def test_a_hook_of_the_users_rides_along(pair: Chain) -> None:
    seen = []
    with pair.base.bridge.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda a, hook: seen.append(a.shape))]):
        capture(pair.base, pad(RAGGED), ["blocks.1.hook_resid_post"])
    assert seen == [(4, 12, 24)]


def test_a_site_that_never_fires_is_an_error(tiny: Build) -> None:
    stage = load_pair(str(tiny("gpt_neox")), str(tiny("gpt_neox", "tuned"))).base
    with pytest.raises((LookupError, ValueError), match="hook"):
        capture(stage, pad(RAGGED), ["blocks.0.attn.hook_result"])


def test_kept_activations_are_copies(pair: Chain) -> None:
    name = "blocks.0.hook_resid_post"

    def spoil(activation: torch.Tensor, hook: object) -> None:
        activation.zero_()

    clean = capture(pair.base, pad(RAGGED), [name])[name]
    with pair.base.bridge.hooks(fwd_hooks=[("blocks.1.hook_in", spoil)]):
        kept = capture_ignoring_readout(pair.base, name)
    assert torch.equal(clean, kept)


def capture_ignoring_readout(stage: Stage, name: str) -> torch.Tensor:
    """One captured activation of the ragged batch."""
    return capture(stage, pad(RAGGED), [name])[name]
