"""TransformerLens, one forward pass a cell: `generic_activation_patch`, and a plain loop of `run_with_hooks`."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pandas as pd
import torch
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities import get_act_name

from bench.protocol import Ids, Scores, Sweep, column, left_padded, scores
from bench.workloads import Cell


class TransformerLensLoop(Sweep):
    """A pair as two bridges."""

    def __init__(self, base: str, tuned: str) -> None:
        self.base, self.tuned = (TransformerBridge.boot_transformers(at, device="cpu").eval() for at in (base, tuned))

    def donor(self, sequences: list[Ids], cells: list[Cell]) -> Any:
        """The activations of the cells' hooks, of one clean pass."""
        names = {get_act_name(cell.site, cell.layer) for cell in cells}
        inputs = left_padded(sequences)
        return self.base.run_with_cache(inputs.pop("input_ids"), names_filter=list(names), logits_to_keep=1, **inputs)[
            1
        ]

    def patch(self, donor: Any, sequences: list[Ids], cells: list[Cell], token: int, variant: str) -> list[Scores]:
        """`generic`: the library's own sweep; `loop`: a pass a cell that reads the last column only."""
        if variant == "generic":
            return self.generic(donor, sequences, cells, token)
        inputs = left_padded(sequences)
        tokens = inputs.pop("input_ids")
        return [scores(self.patched(donor, tokens, inputs, cell), token) for cell in cells]

    def patched(self, donor: Any, tokens: torch.Tensor, inputs: dict[str, torch.Tensor], cell: Cell) -> torch.Tensor:
        """Final logits under one hook."""
        name = get_act_name(cell.site, cell.layer)
        where = (slice(None), column(cell)) if cell.head is None else (slice(None), column(cell), cell.head)

        def put(activation: torch.Tensor, hook: Any) -> torch.Tensor:
            activation[where] = donor[name][where]
            return activation

        return self.tuned.run_with_hooks(tokens, fwd_hooks=[(name, put)], logits_to_keep=1, **inputs)[:, -1]

    def generic(self, donor: Any, sequences: list[Ids], cells: list[Cell], token: int) -> list[Scores]:
        """One call of `generic_activation_patch` a site, back in the order of the cells."""
        by_site = sorted(cells, key=lambda cell: cell.site)
        found: dict[Cell, Scores] = {}
        for site, group in groupby(by_site, key=lambda cell: cell.site):
            listed = list(group)
            found.update(zip(listed, self.of_site(donor, sequences, site, listed, token), strict=True))
        return [found[cell] for cell in cells]

    def of_site(self, donor: Any, sequences: list[Ids], site: str, cells: list[Cell], token: int) -> list[Scores]:
        """The library's sweep over the cells of one site, on right-padded tokens (it takes no mask)."""
        rows, final = torch.arange(len(sequences)), torch.tensor([len(ids) - 1 for ids in sequences])

        def put(activation: torch.Tensor, index: list[int], clean: torch.Tensor) -> torch.Tensor:
            cell = cells[index[1]]
            at = final if cell.position is None else torch.full_like(final, cell.position)
            where = (rows, at) if cell.head is None else (rows, at, cell.head)
            activation[where] = clean[:, column(cell)] if cell.head is None else clean[:, column(cell), cell.head]
            return activation

        indices = pd.DataFrame({"layer": [cell.layer for cell in cells], "cell": range(len(cells))})
        found = patching.generic_activation_patch(
            self.tuned, right_padded(sequences), donor, metrics(rows, final, token), put, site,
            index_df=indices, reduce="none",
        )  # fmt: skip
        return found.values.permute(1, 2, 0).tolist()


def metrics(rows: torch.Tensor, final: torch.Tensor, token: int) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Log-prob of the token and entropy at each row's final token, as `generic_activation_patch` takes metrics."""

    def metric(which: int) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda logits: torch.tensor(scores(logits[rows, final], token))[:, which]

    return {"log_prob": metric(0), "entropy": metric(1)}


def right_padded(sequences: list[Ids]) -> torch.Tensor:
    """Tokens with the padding after them, where causal attention never sees it."""
    width = max(map(len, sequences))
    return torch.tensor([ids + [0] * (width - len(ids)) for ids in sequences])


SWEEP = TransformerLensLoop
PACKAGES = ["transformer-lens"]
