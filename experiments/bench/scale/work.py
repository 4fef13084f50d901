"""What a run does and takes: tokens through layers, arithmetic, seconds and memory, beside the machine's ceilings."""

import time
from collections.abc import Callable
from typing import Any

import torch
import xarray as xr

import mcinterp
from bench.scale.ceilings import synchronise
from bench.scale.meter import Meter
from bench.scale.shapes import Shape

STANDARD = ("resid_pre", "attn_out", "mlp_out")
DIRECTIONS = 2


class Calls:
    """Counts calls of layers and the tokens that go through them."""

    def __init__(self, chain: mcinterp.Chain) -> None:
        self.tokens = self.calls = 0
        for stage in chain.stages:
            for block in stage.bridge.blocks:
                block.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a layer runs, unless something stands in for it."""
        if "forward" not in block.__dict__:
            hidden = args[0] if args else kwargs["hidden_states"]
            self.tokens += hidden.shape[0] * hidden.shape[1]
            self.calls += 1

    def forget(self) -> None:
        """Count from nought."""
        self.tokens = self.calls = 0


def patch(chain: mcinterp.Chain, prompts: mcinterp.Prompts, *, verify: int = 0) -> xr.Dataset:
    """The standard sites of all layers at the last position in both directions; with controls where it is verified."""
    controls = bool(verify)
    return mcinterp.patch(chain, prompts, sites=STANDARD, controls=controls, interaction=False, verify=verify)


def lens(chain: mcinterp.Chain, prompts: mcinterp.Prompts) -> xr.Dataset:
    """The logit lens at the last position."""
    sequences = mcinterp.teacher_force(chain, chain.render(prompts), mcinterp.Decoding(0))
    return mcinterp.logit_lens(chain, sequences, positions="last")


def patched_runs(shape: Shape, prompts: int) -> int:
    """Runs of the standard sweep."""
    return len(STANDARD) * shape.n_layers * DIRECTIONS * prompts


def plain_token_layers(shape: Shape, prompts: int, tokens: int) -> int:
    """Tokens through layers of one forward pass a cell and two clean ones a prompt."""
    return (patched_runs(shape, prompts) + 2 * prompts) * shape.n_layers * tokens


def needed_token_layers(shape: Shape, prompts: int, tokens: int) -> float:
    """Tokens through layers that a sweep cannot do without: two clean passes, and a row above each patch."""
    mlp = shape.mlp_weights / (shape.attention_weights + shape.mlp_weights)
    above = sum(3 * (shape.n_layers - 1 - layer) + 1 + mlp for layer in range(shape.n_layers))
    return prompts * (2 * tokens * shape.n_layers + DIRECTIONS * above)


def measured(
    run: Callable[[], xr.Dataset], calls: Calls, shape: Shape, device: str, keys: int
) -> tuple[xr.Dataset, dict[str, Any]]:
    """What a run gives and takes; readouts are not in its arithmetic."""
    calls.forget()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    with Meter() as meter:
        synchronise(device)
        start = time.perf_counter()
        found = run()
        synchronise(device)
        seconds = time.perf_counter() - start
    return found, {
        "seconds": seconds,
        "token_layers": calls.tokens,
        "layer_calls": calls.calls,
        "flop": calls.tokens * shape.layer_flop(keys),
        "peak_device_bytes": torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else None,
        "host": meter.peaks(),
    }
