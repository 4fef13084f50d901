"""nnsight: one trace a cell, or many cells as the invokes of one batched trace."""

from typing import Any

import nnsight
import torch
from nnsight import TransformersModel

from bench.protocol import Ids, Scores, Sweep, column, left_padded, scores
from bench.workloads import HEAD_WIDTH, Cell

ROWS = 64


class NnsightLoop(Sweep):
    """A pair as two traced models."""

    def __init__(self, base: str, tuned: str) -> None:
        self.base, self.tuned = (
            TransformersModel(at, task="text-generation", dispatch=True, dtype=torch.float32) for at in (base, tuned)
        )

    def donor(self, sequences: list[Ids], cells: list[Cell]) -> Any:
        """The activations of the cells' sites, of one clean trace."""
        order = {"resid_pre": 0, "z": 1, "attn_out": 2, "mlp_out": 3}
        sites = sorted({(cell.layer, cell.site) for cell in cells}, key=lambda each: (each[0], order[each[1]]))
        with self.base.trace(left_padded(sequences), logits_to_keep=1):
            kept = nnsight.save({})
            for layer, site in sites:
                kept[layer, site] = activation(self.base, layer, site)
        return kept

    def patch(self, donor: Any, sequences: list[Ids], cells: list[Cell], token: int, variant: str) -> list[Scores]:
        """`sequential`: a trace a cell; `batched`: as many cells a trace as make 64 rows."""
        inputs = left_padded(sequences)
        if variant == "sequential":
            return [scores(self.patched(donor, inputs, cell), token) for cell in cells]
        step = max(1, ROWS // len(sequences))
        found = [self.batched(donor, inputs, cells[start : start + step]) for start in range(0, len(cells), step)]
        return [scores(logits, token) for group in found for logits in group]

    def patched(self, donor: Any, inputs: dict[str, torch.Tensor], cell: Cell) -> torch.Tensor:
        """Final logits of one cell."""
        with self.tuned.trace(inputs, logits_to_keep=1):
            put(self.tuned, donor, cell)
            logits = self.tuned.lm_head.output.save()
        return logits[:, -1]

    def batched(self, donor: Any, inputs: dict[str, torch.Tensor], cells: list[Cell]) -> list[torch.Tensor]:
        """Final logits of several cells, from one forward pass over all of them."""
        with self.tuned.trace(logits_to_keep=1) as tracer:
            found = nnsight.save([])
            for cell in cells:
                with tracer.invoke(inputs):
                    put(self.tuned, donor, cell)
                    found.append(self.tuned.lm_head.output[:, -1])
        return found


def activation(model: Any, layer: int, site: str) -> Any:
    """The value of a site inside a trace."""
    block = model.model.layers[layer]
    if site == "resid_pre":
        return block.input
    if site == "z":
        return block.self_attn.o_proj.input
    return block.self_attn.output[0] if site == "attn_out" else block.mlp.output


def put(model: Any, donor: Any, cell: Cell) -> None:
    """Put the donor's value in place, inside a trace."""
    head = slice(None) if cell.head is None else slice(cell.head * HEAD_WIDTH, (cell.head + 1) * HEAD_WIDTH)
    where = (slice(None), column(cell), head)
    activation(model, cell.layer, cell.site)[where] = donor[cell.layer, cell.site][where]


SWEEP = NnsightLoop
PACKAGES = ["nnsight"]
