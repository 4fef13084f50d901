"""Residuals at chosen columns of texts, and runs in which one column's are replaced."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float

from mcinterp.batching import Batch, batches
from mcinterp.capture import Point, affordable_tokens, capture
from mcinterp.chain import Stage

Ids = Sequence[int]
Rows = Float[torch.Tensor, "row d_model"]
EMBEDDED = Point(0, "resid_pre")


def layer_points(layers: Sequence[int]) -> list[Point]:
    """The residual stream behind every layer."""
    return [Point(layer, "resid_post") for layer in layers]


@torch.inference_mode()
def residuals(
    stage: Stage, sequences: Sequence[Ids], columns: Sequence[Sequence[int]], points: Sequence[Point]
) -> dict[Point, Rows]:
    """The residuals at some columns of every sequence, sequence by sequence, float32 on the CPU."""
    hooks = [point.hook for point in points]
    parts: list[list[torch.Tensor]] = [[] for _ in sequences]
    for batch in batches(sequences, max_tokens=affordable_tokens(stage, len(points) + 1)):
        kept = capture(stage, batch, hooks)
        for row, index in enumerate(batch.indices):
            places = torch.as_tensor(list(columns[index]), dtype=torch.long)
            parts[index] = [kept[hook][row, places.to(kept[hook].device)].float().cpu() for hook in hooks]
    return {point: torch.cat([part[number] for part in parts]) for number, point in enumerate(points)}


@torch.inference_mode()
def patched_log_probs(
    stage: Stage, sequences: Sequence[Ids], columns: Sequence[int], values: Mapping[Point, Rows]
) -> Float[torch.Tensor, "row vocabulary"]:
    """Next-token log-probabilities behind every sequence once one column's residual is replaced.

    `values` holds the new residual of every sequence at each point that is replaced; without any it is the clean run.
    """
    last = Point(stage.n_layers - 1, "resid_post").hook
    found: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
    for batch in batches(sequences, max_tokens=affordable_tokens(stage, len(values) + 1)):
        hooks = [(point.hook, putter(batch, columns, rows)) for point, rows in values.items()]
        with stage.bridge.hooks(fwd_hooks=hooks):
            kept = capture(stage, batch, [last])[last]
        ends = torch.as_tensor(batch.lengths, device=kept.device) - 1
        read = stage.readout.log_probs(kept[torch.arange(len(ends), device=kept.device), ends]).cpu()
        for row, index in enumerate(batch.indices):
            found[index] = read[row]
    return torch.stack(found)


def putter(batch: Batch, columns: Sequence[int], rows: Rows) -> Any:
    """A hook that puts the new residuals in their places of a batch."""
    index = torch.as_tensor(batch.indices)
    places = torch.as_tensor([columns[n] for n in batch.indices])

    def put(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        changed = activation.clone()
        new = rows[index].to(activation.device, activation.dtype)
        changed[torch.arange(len(index), device=activation.device), places.to(activation.device)] = new
        return changed

    return put
