"""pyvene: one intervenable model and one forward pass a cell, with the donor's activation as source representation."""

from typing import Any

import pyvene
import torch
from transformers import AutoModelForCausalLM

from bench.protocol import Ids, Scores, Sweep, left_padded, scores
from bench.workloads import HEAD_WIDTH, Cell

COMPONENTS = {
    "resid_pre": "block_input",
    "attn_out": "attention_output",
    "mlp_out": "mlp_output",
    "z": "head_attention_value_output",
}


class PyveneLoop(Sweep):
    """A pair as two Hugging Face models."""

    def __init__(self, base: str, tuned: str) -> None:
        self.base, self.tuned = (
            AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32).eval() for at in (base, tuned)
        )

    def donor(self, sequences: list[Ids], cells: list[Cell]) -> Any:
        """The activations of the cells' sites, of one clean pass under torch's own hooks."""
        kept: dict[tuple[int, str], torch.Tensor] = {}
        handles = [self.keep(kept, layer, site) for layer, site in {(cell.layer, cell.site) for cell in cells}]
        self.base(**left_padded(sequences), logits_to_keep=1)
        for handle in handles:
            handle.remove()
        return kept

    def keep(self, kept: dict[tuple[int, str], torch.Tensor], layer: int, site: str) -> Any:
        """A hook that keeps one site."""
        block = self.base.model.layers[layer]

        def of_input(module: torch.nn.Module, inputs: Any) -> None:
            kept[layer, site] = inputs[0].clone()

        def of_output(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            kept[layer, site] = (output[0] if isinstance(output, tuple) else output).clone()

        if site in ("resid_pre", "z"):
            return (block if site == "resid_pre" else block.self_attn.o_proj).register_forward_pre_hook(of_input)
        return (block.self_attn if site == "attn_out" else block.mlp).register_forward_hook(of_output)

    def patch(self, donor: Any, sequences: list[Ids], cells: list[Cell], token: int, variant: str) -> list[Scores]:
        """A pass a cell that reads the last column only."""
        inputs = left_padded(sequences)
        return [scores(self.patched(donor[cell.layer, cell.site], inputs, cell), token) for cell in cells]

    def patched(self, donor: torch.Tensor, inputs: dict[str, torch.Tensor], cell: Cell) -> torch.Tensor:
        """Final logits of one cell."""
        rows, width = inputs["input_ids"].shape
        at = width - 1 if cell.position is None else cell.position
        source, where = donor[:, at : at + 1], {"base": at}
        if cell.head is not None:
            source = source.unflatten(-1, (-1, HEAD_WIDTH))[:, :, cell.head : cell.head + 1].transpose(1, 2)
            where = {"base": [[[[cell.head]] * rows, [[at]] * rows]]}
        model = pyvene.IntervenableModel(configuration(cell), model=self.tuned)
        key = next(iter(model.interventions))
        given = {**inputs, "logits_to_keep": 1}
        return model(given, unit_locations=where, source_representations={key: source})[1].logits[:, -1]


def configuration(cell: Cell) -> pyvene.IntervenableConfig:
    """The intervention of one cell."""
    return pyvene.IntervenableConfig(
        [
            {
                "layer": cell.layer,
                "component": COMPONENTS[cell.site],
                "unit": "pos" if cell.head is None else "h.pos",
                "intervention_type": pyvene.VanillaIntervention,
            }
        ]
    )


SWEEP = PyveneLoop
PACKAGES = ["pyvene"]
