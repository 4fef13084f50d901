"""What donors' clean tokens did at a site, kept until branches have taken it: in memory, or on disk between stages."""

from collections.abc import Sequence

import torch

from mcinterp.intervene.sites import Place
from mcinterp.placement.activation_store import ActivationStore


class CleanRows:
    """Clean activations by stage, site and layer, for as long as the layer runs."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str, int], tuple[dict[int, int], list[torch.Tensor]]] = {}

    def keep(self, stage: int, place: Place, ids: Sequence[int], rows: torch.Tensor) -> None:
        """Keep the activations of some tokens."""
        where, kept = self.rows.setdefault((stage, *place), ({}, []))
        offset = len(where)
        where.update({token: offset + row for row, token in enumerate(ids)})
        kept.append(rows)

    def get(self, stage: int, place: Place, ids: Sequence[int], device: str) -> torch.Tensor:
        """The activations of some tokens, in order."""
        where, kept = self.rows[(stage, *place)]
        if len(kept) > 1:
            kept[:] = [torch.cat(kept)]
        return kept[0][torch.tensor([where[token] for token in ids], device=kept[0].device)].to(device)

    def drop(self) -> None:
        """Forget the layer that has run."""
        self.rows.clear()


class CleanRowsOnDisk(CleanRows):
    """The same for stages that run one after the other: what one layer keeps waits on disk for the stages to come."""

    store: ActivationStore
    sweep: int

    def __init__(self, store: ActivationStore, sweep: int) -> None:
        super().__init__()
        self.store, self.sweep = store, sweep
        self.tokens: dict[tuple[int, str, int], list[Sequence[int]]] = {}

    def keep(self, stage: int, place: Place, ids: Sequence[int], rows: torch.Tensor) -> None:
        """Keep the activations of some tokens, also on disk."""
        super().keep(stage, place, ids, rows)
        listed = self.tokens.setdefault((stage, *place), [])
        self.store.put((self.sweep, stage, place, len(listed)), rows)
        listed.append(ids)

    def get(self, stage: int, place: Place, ids: Sequence[int], device: str) -> torch.Tensor:
        """The activations of some tokens, in order; read from disk where the stage ran before."""
        if (stage, *place) not in self.rows:
            for number, kept in enumerate(self.tokens.get((stage, *place), [])):
                super().keep(stage, place, kept, self.store.get((self.sweep, stage, place, number)))
        return super().get(stage, place, ids, device)

    def begin_again(self, stage: int) -> None:
        """Forget what a stage kept, since it runs once more."""
        self.tokens = {key: kept for key, kept in self.tokens.items() if key[0] != stage}
