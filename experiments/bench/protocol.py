"""What every library is wrapped as, and what the wrappers share."""

from typing import Any

import torch

from bench.workloads import Cell

Ids = list[int]
Scores = list[list[float]]


class Sweep:
    """One library's way of patching a pair."""

    def donor(self, sequences: list[Ids], cells: list[Cell]) -> Any:
        """What is taken from the base model, by clean passes."""
        raise NotImplementedError

    def patch(self, donor: Any, sequences: list[Ids], cells: list[Cell], token: int, variant: str) -> Any:
        """Every cell with the donor's activation put into the tuned model."""
        raise NotImplementedError

    def read(self, found: Any, cells: list[Cell]) -> list[Scores]:
        """The scores of each cell (log-prob of the token and entropy, by prompt); not timed."""
        return found


def left_padded(sequences: list[Ids]) -> dict[str, torch.Tensor]:
    """Model inputs with every final token in the last column; a mask only where lengths differ."""
    width = max(map(len, sequences))
    tokens = torch.tensor([[0] * (width - len(ids)) + ids for ids in sequences])
    if min(map(len, sequences)) == width:
        return {"input_ids": tokens}
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in sequences])
    return {"input_ids": tokens, "attention_mask": mask}


def column(cell: Cell) -> int:
    """The patched column of left-padded inputs (positions are only named for a prompt alone)."""
    return -1 if cell.position is None else cell.position


def scores(logits: torch.Tensor, token: int) -> Scores:
    """Log-prob of a token and entropy of each row of final logits."""
    log_probs = torch.log_softmax(logits, dim=-1)
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    return torch.stack([log_probs[:, token], entropy], dim=-1).tolist()
