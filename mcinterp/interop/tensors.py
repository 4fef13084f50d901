"""Results as torch tensors, with the names of their axes beside them."""

from typing import Any

import numpy as np
import torch
import xarray as xr

from mcinterp.errors import InputError


class Tensors(dict[str, torch.Tensor]):
    """Tensors by the name of their variable.

    `dims` names the axes of each, in order; `labels` holds the coordinates along each axis as lists
    (`labels["layer"]`); `left_out` names the variables that are text, which no tensor can hold.
    """

    dims: dict[str, tuple[str, ...]]
    labels: dict[str, list[Any]]
    left_out: tuple[str, ...]

    def __init__(
        self,
        found: dict[str, torch.Tensor],
        dims: dict[str, tuple[str, ...]],
        labels: dict[str, list[Any]],
        left_out: tuple[str, ...],
    ) -> None:
        super().__init__(found)
        self.dims, self.labels, self.left_out = dims, labels, left_out


def tensors(dataset: Any) -> Tensors:
    """The variables of a result (an `xarray.Dataset`) as torch tensors on the CPU, copied, in the dtype they have.

    Numbers that are missing are NaN, and -1 for token ids and ranks, as in the dataset. Coordinates that are numbers
    but no axes (`token_id` over prompt and position) are among the tensors too.

    Raises `InputError` for what is no `xarray.Dataset`.
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputError(f"got a {type(dataset).__name__}; give the xarray.Dataset that an analysis returned.")
    there = {str(name): dataset[name] for name in dataset.variables if name not in dataset.dims}
    numeric = {name: each for name, each in there.items() if each.dtype.kind in "biuf"}
    return Tensors(
        {name: torch.from_numpy(np.array(each.values)) for name, each in numeric.items()},
        {name: tuple(map(str, each.dims)) for name, each in numeric.items()},
        {str(dim): dataset[dim].values.tolist() for dim in dataset.dims},
        tuple(name for name in there if name not in numeric),
    )
