"""Parts put together are the whole."""

import numpy as np
import pytest
import xarray as xr

from mcinterp.chain import Chain
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.lens import logit_lens
from mcinterp.prompts import Prompts
from mcinterp.results import load, provenance_of, save
from mcinterp.sequences import Sequences, teacher_force
from mcinterp.shards import bounds_of, joined, part_of

TEXTS = ["Are bugs real?", ">be me\n", "Pick a number:", "one", "One more time, please", "a", "Say it:"]


@pytest.fixture(scope="module")
def sequences(chain: Chain) -> Sequences:
    """Prompts of many lengths with completions."""
    return teacher_force(chain, chain.render(Prompts.from_texts(TEXTS)), Decoding(5))


@pytest.fixture(scope="module")
def whole(chain: Chain, sequences: Sequences) -> xr.Dataset:
    """All at once."""
    return logit_lens(chain, sequences)


def test_bounds_cover_every_prompt_once() -> None:
    assert bounds_of(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert bounds_of(3, 512) == [(0, 3)]
    with pytest.raises(InputError, match="got a shard size of -1; give 1 prompt or more"):
        bounds_of(3, -1)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("from_disk", [False, True])
def test_a_lens_in_shards_is_the_whole_lens(
    size: int, from_disk: bool, chain: Chain, sequences: Sequences, whole: xr.Dataset, tmp_path_factory
) -> None:
    parts = [logit_lens(chain, part_of(sequences, *ends)) for ends in bounds_of(len(sequences), size)]
    if from_disk:
        folder = tmp_path_factory.mktemp("parts")
        parts = [load(save(part, folder / f"{number}.nc")) for number, part in enumerate(parts)]
    again = joined(parts, token_ids_sha256=sequences.hash)
    assert (set(again.data_vars), set(again.coords)) == (set(whole.data_vars), set(whole.coords))
    assert provenance_of(again) == provenance_of(whole)
    for name in whole.variables:
        assert again[name].dims == whole[name].dims
        assert again[name].attrs == whole[name].attrs
        if whole[name].dtype.kind == "f":
            assert again[name].dtype == whole[name].dtype
            closely = 0.0 if size == len(sequences) else 1e-4  # rounding follows the prompts that share a batch
            np.testing.assert_allclose(again[name].values, whole[name].values, rtol=closely, atol=closely)
        else:
            assert again[name].values.tolist() == whole[name].values.tolist()
            assert again[name].dtype.kind in (whole[name].dtype.kind, "O")


def test_attributes_are_joined_and_differences_are_refused() -> None:
    def part(**attributes: float) -> xr.Dataset:
        return xr.Dataset({"x": ("prompt", [1.0]), "layer": ("layer", [0, 1])}, {"prompt": [0]}, attributes)

    found = joined([part(noise_floor=np.nan, verified_cells=2), part(noise_floor=1e-6, verified_cells=3)])
    assert found.attrs == {"noise_floor": 1e-6, "verified_cells": 5}
    assert found["prompt"].values.tolist() == [0, 1]
    with pytest.raises(InputError, match="differ in their attribute 'engine'; make the analysis in one shard"):
        joined([part(engine=1), part(engine=2)])
    with pytest.raises(InputError, match="differ in 'layer', which is of no prompt"):
        joined([part(), part().assign(layer=("layer", [0, 2]))])
