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
INTEGERS = ("attractor_rank", "top_token")
DIMS = ("lens", "stage", "prompt", "position", "layer", "site")

Indices = Int[np.ndarray, "row"]


class LensTable:
    """Arrays of missing values that fill up as chunks of rows are measured."""

    def __init__(self, chain: Chain, sequences: Sequences, lenses: Sequence[str]) -> None:
        self.chain, self.sequences, self.lenses = chain, sequences, list(lenses)
        self.lengths = np.asarray([len(ids) for ids in sequences.prompts.token_ids])
        self.cells = (len(sequences), len(sequences.positions))
        self.attractor = np.full(self.cells, -1, dtype=np.int32)
        self.values: dict[str, np.ndarray] = {}

    def places(self, prompt: Indices, column: Indices) -> tuple[Indices, Indices]:
        """Prompt and position index of rows: columns count from a prompt's first token, positions from its last."""
        return prompt, column - self.lengths[prompt] + self.sequences.prompts.longest

    def keep_attractor(self, prompt: Indices, column: Indices, tokens: Indices) -> None:
        """Keep the followed token of each row: it depends on neither lens nor layer."""
        self.attractor[self.places(prompt, column)] = tokens

    def keep(self, lens: int, point: Point, prompt: Indices, column: Indices, measured: dict[str, np.ndarray]) -> None:
        """Put the measures (stage first, then row) of one lens and point into place.

        `resid_post` of a layer is also `resid_pre` of the next.
        """
        prompt, position = self.places(prompt, column)
        cells = [(point.layer, point.site)]
        if point.site == "resid_post" and point.layer + 1 < self.chain.base.n_layers:
            cells.append((point.layer + 1, "resid_pre"))
        for name, value in measured.items():
            array = self.values.setdefault(name, self.empty(name, value.shape[2:]))
            for layer, site in cells:
                array[lens, :, prompt, position, layer, SITES.index(site)] = rearrange(
                    value, "stage row ... -> row stage ..."
                )

    def empty(self, name: str, extra: tuple[int, ...]) -> np.ndarray:
        """An array of missing values (-1 for ids and ranks) for one variable."""
        shape = (len(self.lenses), len(self.chain.stages), *self.cells, self.chain.base.n_layers, len(SITES), *extra)
        return np.full(shape, -1, np.int32) if name in INTEGERS else np.full(shape, np.nan, np.float32)

    def dataset(self) -> xr.Dataset:
        """Everything that was kept, labelled."""
        data = {name: (DIMS + ("choice",) * (value.ndim - len(DIMS)), value) for name, value in self.values.items()}
        dataset = xr.Dataset(data, coords=coordinates(self.chain, self.sequences))
        dataset = dataset.assign_coords(lens=self.lenses, layer=np.arange(self.chain.base.n_layers), site=list(SITES))
        dataset["effective_choices"] = np.exp(dataset["entropy"])
        dataset["attractor_probability"] = np.exp(dataset["attractor_log_prob"])
        dataset["attractor"] = (("prompt", "position"), self.attractor)
        ids = (dataset["top_token"].values, self.attractor, dataset["token_id"].values)
        return describe(with_token_strings(dataset, self.decode, *ids))

    def decode(self, index: int) -> str:
        """One token as text."""
        return token_strings(self.chain.tuned.tokenizer, [index])[0]
