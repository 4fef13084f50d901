"""mcinterp: one call of `patch` a sweep."""

from functools import cache
from typing import Any

import mcinterp
from bench.protocol import Ids, Scores, Sweep
from bench.workloads import Cell

LOG_PROB, ENTROPY = "attractor_log_prob", "entropy"
DIRECTIONS = {"one": ("base_to_tuned",), "both": ("base_to_tuned", "tuned_to_base")}


class McinterpSweep(Sweep):
    """A loaded pair."""

    def __init__(self, base: str, tuned: str) -> None:
        self.pair = mcinterp.load_pair(base, tuned, names=["base", "tuned"])

    def donor(self, sequences: list[Ids], cells: list[Cell]) -> Any:
        """The rendered prompts; `patch` makes the clean passes itself."""
        return self.rendered(tuple(map(tuple, sequences)))

    @cache  # noqa: B019
    def rendered(self, sequences: tuple[tuple[int, ...], ...]) -> Any:
        """Prompts that become the given tokens, made once."""
        texts = [" ".join(f"t{index}" for index in ids) for ids in sequences]
        rendered = self.pair.render(mcinterp.Prompts.from_texts(texts))
        assert rendered.token_ids == sequences, "the tokenizer does not give the tokens back"
        return rendered

    def patch(self, donor: Any, sequences: list[Ids], cells: list[Cell], token: int, variant: str) -> Any:
        """All cells of the sites, positions and heads that the cells name, read by the two scores that all compute."""
        options = {"heads": "each"} if cells[0].head is not None else {}
        return mcinterp.patch(
            self.pair,
            donor,
            sites=tuple(dict.fromkeys(cell.site for cell in cells)),
            positions="last" if cells[0].position is None else "each",
            directions=DIRECTIONS[variant],
            metrics=(LOG_PROB, ENTROPY),
            controls=False,
            interaction=False,
            attractor=token,
            **options,
        )

    def read(self, found: Any, cells: list[Cell]) -> list[Scores]:
        """The scores of the first direction, cell by cell."""
        labels = found.sel(direction="base_to_tuned")
        return [of_cell(labels, cell) for cell in cells]


def of_cell(found: Any, cell: Cell) -> Scores:
    """The scores of one cell, by prompt (the positions of a result run from the prompt's first token on)."""
    chosen = found.sel(site=cell.site, layer=cell.layer)
    chosen = chosen if cell.head is None else chosen.sel(head=cell.head)
    chosen = chosen if cell.position is None else chosen.isel(position=cell.position)
    values = [chosen[name].values.reshape(-1).tolist() for name in (LOG_PROB, ENTROPY)]
    return [list(each) for each in zip(*values, strict=True)]


SWEEP = McinterpSweep
PACKAGES = ["mcinterp", "transformer-lens"]
