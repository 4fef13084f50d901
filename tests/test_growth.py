"""Many variants of a prompt in one pass equal plain passes, and leave nothing behind."""

from typing import Any

import pytest
import torch

from conftest import SHAPES, Build
from mcinterp.chain import Chain, load_pair
from mcinterp.growth import grown_residuals, last_residuals

IDS = [5, 6, 7, 8, 40]


@pytest.mark.parametrize("architecture", SHAPES)
@torch.inference_mode()
def test_grown_rows_are_those_of_plain_passes(tiny: Build, architecture: str) -> None:
    stage = load_pair(str(tiny(architecture)), str(tiny(architecture, "tuned"))).tuned
    name, last = "blocks.1.hook_mlp_out", "blocks.2.hook_resid_post"
    added = torch.randn(3, 24)

    def each(activation: torch.Tensor) -> torch.Tensor:
        return activation + added.unsqueeze(1)

    grown = grown_residuals(stage, IDS, 1, 3, [(name, each)])
    for row in range(3):
        kept: list[torch.Tensor] = []

        def alone(activation: torch.Tensor, hook: Any, row: int = row) -> torch.Tensor:
            return activation + added[row]

        hooks = [(name, alone), (last, lambda value, hook, kept=kept: kept.append(value[0, -1].clone()))]
        stage.bridge.run_with_hooks(torch.tensor([IDS]), fwd_hooks=hooks)
        torch.testing.assert_close(grown[row], kept[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        grown_residuals(stage, IDS, 1, 2, [])[1], last_residuals(stage, [IDS])[0], atol=1e-5, rtol=1e-5
    )


def test_a_hook_that_does_not_fire_is_an_error_and_hooks_are_gone(pair: Chain) -> None:
    def stop(activation: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("stopped")

    with pytest.raises(LookupError, match="hook_hidden_states'] did not fire"):
        grown_residuals(pair.tuned, IDS, 1, 2, [("blocks.1.attn.hook_hidden_states", stop)])
    with pytest.raises(RuntimeError, match="stopped"):
        grown_residuals(pair.tuned, IDS, 1, 2, [("blocks.1.hook_mlp_out", stop)])
    assert not any(point.fwd_hooks for point in pair.tuned.bridge.hook_dict.values())
