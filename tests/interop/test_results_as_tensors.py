"""Results outside xarray: torch tensors with their axes, and pandas."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import mcinterp
from interop.conftest import TEXTS
from mcinterp.chain import Chain
from mcinterp.errors import InputError
from mcinterp.heads import head_scores
from mcinterp.intervene.inputs import as_sequences
from mcinterp.results import load, save
from show.every_dataset import Every


def analysed(pair: Chain) -> Iterator[xr.Dataset]:
    """Datasets of a few analyses, with texts, ids and missing cells."""
    yield mcinterp.logit_lens(pair, as_sequences(pair, TEXTS))
    yield mcinterp.patch(pair, TEXTS, layers=[0, 3], heads=[1, 2], sites=["z"])
    yield mcinterp.update_attribution(pair, TEXTS)
    yield head_scores(pair, TEXTS)
    yield mcinterp.direct_logit_attribution(pair, TEXTS)
    yield mcinterp.neuron_statistics(pair, TEXTS)


def assert_round_trip(dataset: xr.Dataset) -> None:
    """That tensors with their axes hold what the dataset holds, and nothing is lost without being named."""
    found = mcinterp.tensors(dataset)
    there = {str(name) for name in dataset.variables} - set(map(str, dataset.dims))
    assert set(found) | set(found.left_out) == there
    assert not set(found) & set(found.left_out)
    for name, tensor in found.items():
        again = xr.DataArray(tensor.numpy(), dims=found.dims[name])
        assert again.sizes == dataset[name].sizes
        assert np.array_equal(again.values, dataset[name].values, equal_nan=again.dtype.kind == "f")
        assert all(len(found.labels[dim]) == tensor.shape[axis] for axis, dim in enumerate(found.dims[name]))
    assert all(dataset[name].dtype.kind in "OUST" for name in found.left_out)


def assert_tables(dataset: xr.Dataset) -> None:
    """That every variable makes a table of its own with the same numbers, and the dataset one of all of them."""
    for variable in dataset.data_vars.values():
        if variable.ndim:
            table = variable.to_dataframe(name="value")
            assert len(table) == variable.size
            assert np.array_equal(
                table["value"].values, variable.values.reshape(-1), equal_nan=variable.dtype.kind == "f"
            )
    narrow = dataset.drop_dims("vocabulary", errors="ignore")
    if prod(narrow.sizes.values()) < 1e6:
        assert set(map(str, narrow.data_vars)) <= set(narrow.to_dataframe().columns)


def test_tensors_and_tables_hold_what_the_datasets_of_the_main_analyses_hold(loaded: Chain) -> None:
    for dataset in analysed(loaded):
        assert_round_trip(dataset)
        assert_tables(dataset)


@pytest.mark.slow
def test_tensors_and_tables_hold_what_every_dataset_holds(pocket: Chain) -> None:
    pair, chain = (Chain(pocket.stages[:count], pocket.alignment) for count in (2, 3))
    for make in Every(pair, chain).makers.values():
        dataset = make()
        assert_round_trip(dataset)
        assert_tables(dataset)


def test_tensors_know_their_axes_and_labels_and_are_copies(loaded: Chain, tmp_path: Path) -> None:
    dataset = mcinterp.logit_lens(loaded, as_sequences(loaded, TEXTS))
    found = mcinterp.tensors(dataset)
    entropy = found["entropy"]
    assert entropy.dtype == torch.float32
    assert found["top_token"].dtype == torch.int32
    assert found.dims["entropy"] == ("lens", "stage", "prompt", "position", "layer", "site")
    place = {dim: found.labels[dim].index for dim in found.dims["entropy"]}
    cell = entropy[place["lens"]("own"), place["stage"]("sft"), 1, place["position"](0), 5, place["site"]("resid_post")]
    wanted = dataset["entropy"].sel(lens="own", stage="sft", prompt=1, position=0, layer=5, site="resid_post")
    assert float(cell) == float(wanted)
    assert "text" in found.left_out
    entropy.zero_()
    assert float(dataset["entropy"].max()) > 1
    assert_round_trip(load(save(dataset, tmp_path / "lens.nc")))


def test_what_is_no_dataset_is_refused(loaded: Chain) -> None:
    with pytest.raises(InputError, match=r"got a DataArray; give the xarray\.Dataset"):
        mcinterp.tensors(head_scores(loaded, TEXTS)["attention_entropy"])
