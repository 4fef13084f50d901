"""Runs without one neuron each: the final residual that is left, by arithmetic or by forward passes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float

from mcinterp.batching import batches
from mcinterp.capture import affordable_tokens, capture
from mcinterp.chain import Stage
from mcinterp.folding import block_norm, linear_weight, mlp_down, residual_multiplier
from mcinterp.growth import at_ends, grown_residuals, rows_at_once

AGREE = 1e-3

Residuals = Float[torch.Tensor, "prompt unit d_model"]


@dataclass(frozen=True)
class CleanNeurons:
    """Clean runs of one stage at some neurons of a layer: their activation at the read token, and its mean over tokens.

    `written` is what the layer's MLP gives out at the read token, `added` what becomes of that in the residual stream.
    """

    layer: int
    neurons: tuple[int, ...]
    at: Float[torch.Tensor, "prompt unit"]
    mean: Float[torch.Tensor, "unit"]
    written: Float[torch.Tensor, "prompt d_model"]
    added: Float[torch.Tensor, "prompt d_model"]

    def parts(self, size: int) -> Iterator["CleanNeurons"]:
        """The same, `size` neurons at a time."""
        for start in range(0, len(self.neurons), size):
            part = slice(start, start + size)
            yield replace(self, neurons=self.neurons[part], at=self.at[:, part], mean=self.mean[part])


def clean_neurons(stage: Stage, ids: Sequence[Sequence[int]], layer: int, neurons: Sequence[int]) -> CleanNeurons:
    """Clean runs at some neurons of a layer."""
    post, out, added = (f"blocks.{layer}.{name}" for name in ("mlp.hook_post", "mlp.out.hook_out", "hook_mlp_out"))
    chosen, width = list(neurons), int(stage.bridge.cfg.d_model)
    at, total, count = torch.zeros(len(ids), len(chosen)), torch.zeros(len(chosen), dtype=torch.float64), 0
    ends = torch.zeros(2, len(ids), width)
    sites = 2 + -(-int(stage.bridge.cfg.d_mlp) // width)
    for batch in batches(ids, max_tokens=affordable_tokens(stage, sites)):
        found = capture(stage, batch, [post, out, added])
        rows = found.rows(post)[:, chosen]
        total, count = total + rows.double().sum(dim=0).cpu(), count + len(rows)
        at[list(batch.indices)] = at_ends(found[post], batch.lengths)[:, chosen].float().cpu()
        for number, hook in enumerate((out, added)):
            ends[number, list(batch.indices)] = at_ends(found[hook], batch.lengths).float().cpu()
    return CleanNeurons(layer, tuple(chosen), at, (total / count).float(), ends[0], ends[1])


def output_map(stage: Stage, layer: int, written: torch.Tensor) -> torch.Tensor:
    """What an MLP's output becomes on its way into the residual stream: the norm behind it, and a fixed factor."""
    post = block_norm(stage, layer, "ln2_post")
    return (written if post is None else post.module(written)) * residual_multiplier(stage)


def knows_its_output(stage: Stage, at: CleanNeurons) -> bool:
    """Whether `output_map` gives what the model itself added to the residual stream."""
    where = stage.readout.weight.device
    error = (output_map(stage, at.layer, at.written.to(where)).cpu() - at.added).abs().max()
    loose = 1.0 if stage.dtype in (torch.float32, torch.float64) else 30.0
    return bool(error <= loose * AGREE * at.added.abs().max())


def from_final_residual(stage: Stage, at: CleanNeurons, residual: torch.Tensor) -> Residuals:
    """The final residual without each neuron of the last layer, by arithmetic alone."""
    weight = linear_weight(mlp_down(stage, at.layer))[list(at.neurons)].float()
    moved = (at.mean - at.at).to(weight.device).unsqueeze(-1) * weight
    written = at.written.to(weight.device).unsqueeze(1)
    change = output_map(stage, at.layer, written + moved) - output_map(stage, at.layer, written)
    return residual.unsqueeze(1) + change.to(residual)


def by_forward_passes(stage: Stage, at: CleanNeurons, ids: Sequence[Sequence[int]]) -> Residuals:
    """The final residual without each neuron of a layer: one prompt at a time, many neurons in one pass."""
    hook, found = f"blocks.{at.layer}.mlp.hook_post", []
    for tokens in ids:
        units = torch.arange(len(at.neurons)).split(rows_at_once(stage, len(tokens)))
        found.append(torch.cat([ablated_rows(stage, at, tokens, hook, part) for part in units]))
    return torch.stack(found)


def ablated_rows(
    stage: Stage, at: CleanNeurons, tokens: Sequence[int], hook: str, units: torch.Tensor
) -> Float[torch.Tensor, "row d_model"]:
    """Final residuals of one prompt without each of some neurons."""
    neurons = torch.tensor(at.neurons)[units]

    def ablate(activation: torch.Tensor) -> torch.Tensor:
        new = activation.clone()
        new[torch.arange(len(units)), :, neurons] = at.mean[units].to(new).unsqueeze(-1)
        return new

    return grown_residuals(stage, tokens, at.layer, len(units), [(hook, ablate)])
