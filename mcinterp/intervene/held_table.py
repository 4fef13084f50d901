"""Collects the trajectories of held patches into one labelled dataset."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.completions import before_end
from mcinterp.intervene.cells import Cell, Request
from mcinterp.intervene.plan import Direction
from mcinterp.rendering import token_strings
from mcinterp.results import with_token_strings
from mcinterp.sequences import Sequences

QUANTITIES = ("entropy", "next_log_prob", "donor_log_prob")


class HeldTable:
    """Tokens and quantities by variant, direction, cell, prompt, sample and step; the last cell is the clean run."""

    chain: Chain
    sequences: Sequences
    request: Request
    cells: list[Cell]
    directions: list[Direction]
    variants: list[str]

    def __init__(
        self,
        chain: Chain,
        sequences: Sequences,
        request: Request,
        cells: Sequence[Cell],
        directions: Sequence[Direction],
        variants: Sequence[str],
        samples: int,
        steps: int,
    ) -> None:
        self.chain, self.sequences, self.request = chain, sequences, request
        self.cells, self.directions, self.variants = list(cells), list(directions), list(variants)
        shape = (len(variants), len(directions), len(cells) + 1, len(sequences), samples, steps)
        self.tokens: np.ndarray = np.full(shape, -1, dtype=np.int32)
        self.values: dict[str, np.ndarray] = {name: np.full(shape, np.nan, dtype=np.float32) for name in QUANTITIES}

    def take(self, variant: int, direction: int, rows: Sequence[Any], written: Any) -> None:
        """Keep what a group of trajectories wrote, up to each one's end token."""
        end = self.chain.stages[self.directions[direction].recipient].end_tokens
        for number, row in enumerate(rows):
            length = len(before_end(written.tokens[number].tolist(), end))
            cell = len(self.cells) if row.cell is None else row.cell
            at = (variant, direction, cell, row.prompt, row.sample)
            self.tokens[at][:length] = written.tokens[number, :length].numpy()
            for name in QUANTITIES:
                values = getattr(written, name)[number].numpy()
                self.values[name][at][: min(length + 1, len(values))] = values[: length + 1]

    def dataset(self) -> xr.Dataset:
        """Everything that was written, labelled; see `mcinterp.intervene.held.generate_patched`."""
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name, values in {"token_id": self.tokens, **self.values, **self.derived()}.items():
            tail = ("sample", "step")[: values.ndim - 4]
            grid = self.grid(values[:, :, :-1])
            axes = ("prompt", "direction", "site", "layer", *(("head",) if self.heads else ()), *tail)
            data[name] = (axes, grid[0])
            data[f"{name}_recipient"] = (("prompt", "direction", *tail), np.moveaxis(values[0, :, -1], 1, 0))
            if len(self.variants) > 1:
                data[f"{name}_control"] = (("control", *axes), grid[1:])
        dataset = xr.Dataset(data, coords=self.coordinates())
        return with_token_strings(dataset, self.decode, self.tokens)

    def derived(self) -> dict[str, np.ndarray]:
        """Text, length, and the first step at which a trajectory leaves the unpatched recipient's."""
        differs = self.tokens != self.tokens[:1, :, -1:]
        left = np.where(differs.any(axis=-1), differs.argmax(axis=-1), np.nan).astype(np.float32)
        text = np.empty(self.tokens.shape[:-1], dtype=object)
        for at in np.ndindex(*text.shape):
            ids = [int(i) for i in self.tokens[at] if i >= 0]
            text[at] = "".join(token_strings(self.chain.tuned.tokenizer, ids))
        return {
            "completion": text.astype(str),
            "left_at": left,
            "n_tokens": (self.tokens >= 0).sum(axis=-1).astype(np.int32),
        }

    @property
    def heads(self) -> list[int | None]:
        """Heads that are patched one at a time; none where all go together."""
        return [*sorted({cell.head for cell in self.cells if cell.head is not None})]

    def grid(self, values: np.ndarray) -> np.ndarray:
        """Values of all cells over variant, prompt, direction, site, layer (and head), and what follows."""
        sites, layers, heads = self.request.labels(), list(self.request.layers), self.heads or [None]
        missing: Any = "" if values.dtype.kind == "U" else -1 if values.dtype.kind == "i" else np.nan
        shape = (*values.shape[:2], len(sites), len(layers), len(heads), *values.shape[3:])
        grid = np.full(shape, missing, dtype=values.dtype)
        for number, cell in enumerate(self.cells):
            grid[:, :, sites.index(cell.site), layers.index(cell.layer), heads.index(cell.head)] = values[:, :, number]
        grid = np.moveaxis(grid, 5, 1)
        return grid if self.heads else grid.squeeze(5)

    def coordinates(self) -> dict[str, Any]:
        """Labels of all axes."""
        prompts = self.sequences.prompts
        heads = {"head": self.heads} if self.heads else {}
        controls = {"control": self.variants[1:]} if len(self.variants) > 1 else {}
        return {
            "prompt": np.arange(len(self.sequences)),
            "text": ("prompt", list(prompts.texts)),
            "template": ("prompt", list(prompts.templates)),
            "rendering": ("prompt", list(prompts.renderings)),
            "direction": [direction.name for direction in self.directions],
            "site": self.request.labels(),
            "layer": list(self.request.layers),
            **heads,
            **controls,
        }

    def decode(self, index: int) -> str:
        """One token as text."""
        return token_strings(self.chain.tuned.tokenizer, [index])[0]
