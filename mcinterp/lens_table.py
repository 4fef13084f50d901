"""Collects what the lenses measure, a few rows at a time, into one labelled dataset."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from einops import rearrange
from jaxtyping import Int

from mcinterp.capture import Point
from mcinterp.chain import Chain
from mcinterp.rendering import token_strings
from mcinterp.results import describe, with_token_strings
from mcinterp.sequences import Sequences, coordinates

SITES = ("resid_pre", "resid_mid", "resid_post")
INTEGERS = ("attractor_rank", "top_token", "rank_under_base", "shift_class")
DIMS = ("lens", "stage", "prompt", "position", "layer", "site")

Indices = Int[np.ndarray, "row"]


class LensTable:
    """Arrays of missing values that fill up as chunks of rows are measured, for all stages unless some are named."""

    chain: Chain
    sequences: Sequences
    lenses: list[str]

    def __init__(
        self, chain: Chain, sequences: Sequences, lenses: Sequence[str], stages: Sequence[str] | None = None
    ) -> None:
        self.chain, self.sequences, self.lenses = chain, sequences, list(lenses)
        self.stages: list[str] = list(stages if stages is not None else chain.names)
        self.lengths: np.ndarray = np.asarray([len(ids) for ids in sequences.prompts.token_ids])
        self.cells: tuple[int, int] = (len(sequences), len(sequences.positions))
        self.attractor: np.ndarray = np.full(self.cells, -1, dtype=np.int32)
        self.values: dict[str, np.ndarray] = {}
        self.pooled: dict[str, np.ndarray] = {}

    def places(self, prompt: Indices, column: Indices) -> tuple[Indices, Indices]:
        """Prompt and position index of rows: columns count from a prompt's first token, positions from its last."""
        return prompt, column - self.lengths[prompt] + self.sequences.prompts.longest

    def keep_attractor(self, prompt: Indices, column: Indices, tokens: Indices) -> None:
        """Keep the followed token of each row: it depends on neither lens nor layer."""
        self.attractor[self.places(prompt, column)] = tokens

    def keep(self, lens: int, point: Point, prompt: Indices, column: Indices, measured: dict[str, np.ndarray]) -> None:
        """Put the measures (stage first, then row) of one lens and point into place."""
        prompt, position = self.places(prompt, column)
        for name, value in measured.items():
            array = self.values.setdefault(name, self.empty(name, value.shape[2:]))
            for layer, site in self.cells_of(point):
                array[lens, :, prompt, position, layer, site] = rearrange(value, "stage row ... -> row stage ...")

    def keep_pooled(self, lens: int, point: Point, measured: dict[str, np.ndarray]) -> None:
        """Put values over stage and prompt, or over stage alone, into place: what was pooled over the rows."""
        for name, value in measured.items():
            shape = (len(self.lenses), *value.shape, self.chain.base.n_layers, len(SITES))
            array = self.pooled.setdefault(name, np.full(shape, np.nan, np.float32))
            for layer, site in self.cells_of(point):
                array[lens, ..., layer, site] = value

    def cells_of(self, point: Point) -> list[tuple[int, int]]:
        """Layer and index of the site of a point: `resid_post` of a layer is also `resid_pre` of the next."""
        cells = [(point.layer, SITES.index(point.site))]
        if point.site == "resid_post" and point.layer + 1 < self.chain.base.n_layers:
            cells.append((point.layer + 1, SITES.index("resid_pre")))
        return cells

    def empty(self, name: str, extra: tuple[int, ...]) -> np.ndarray:
        """An array of missing values (-1 for ids and ranks) for one variable."""
        shape = (len(self.lenses), len(self.stages), *self.cells, self.chain.base.n_layers, len(SITES), *extra)
        return np.full(shape, -1, np.int32) if name in INTEGERS else np.full(shape, np.nan, np.float32)

    def labelled(self) -> xr.Dataset:
        """Everything that was kept, with its coordinates."""
        data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for name, value in self.values.items():
            data[name] = (DIMS + ("choice",) * (value.ndim - len(DIMS)), value)
        for name, value in self.pooled.items():
            data[name] = (tuple(d for d in DIMS if d != "position" and (d != "prompt" or value.ndim == 5)), value)
        axes = {
            "lens": self.lenses,
            "stage": self.stages,
            "layer": np.arange(self.chain.base.n_layers),
            "site": list(SITES),
        }
        return xr.Dataset(data, coords={**coordinates(self.chain, self.sequences), **axes})

    def dataset(self) -> xr.Dataset:
        """What the logit lens kept, labelled and described."""
        dataset = self.labelled()
        dataset["effective_choices"] = np.exp(dataset["entropy"])
        dataset["attractor_probability"] = np.exp(dataset["attractor_log_prob"])
        dataset["attractor"] = (("prompt", "position"), self.attractor)
        ids = (dataset["top_token"].values, self.attractor, dataset["token_id"].values)
        return describe(with_token_strings(dataset, self.decode, *ids))

    def decode(self, index: int) -> str:
        """One token as text."""
        return token_strings(self.chain.tuned.tokenizer, [index])[0]
