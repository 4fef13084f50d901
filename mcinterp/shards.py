"""Shards: an analysis of many prompts made from a stretch of them at a time, and put together again.

What a measure says of a prompt depends on no other prompt, so the parts put together are the whole. Which prompts share
a batch may still move a number by rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import provenance_of, token_text, with_provenance
from mcinterp.sequences import Sequences

MISSING: dict[str, float | bool | str] = {"f": np.nan, "i": -1, "u": 0, "b": False, "U": "", "O": "", "T": ""}
LARGEST, SUMMED = ("noise_floor", "verified_difference"), ("verified_cells",)


def bounds_of(count: int, size: int) -> list[tuple[int, int]]:
    """Where each shard of `count` prompts begins and ends, `size` prompts a shard."""
    if size < 1:
        raise InputError(f"got a shard size of {size}; give 1 prompt or more.")
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def part_of(sequences: Sequences, start: int, stop: int) -> Sequences:
    """Some of the sequences, from one to before another."""
    return Sequences(
        sequences.prompts.select(range(start, stop)),
        sequences.completions[start:stop],
        sequences.completion_tokens[start:stop],
        sequences.written_by,
    )


def joined(parts: Sequence[xr.Dataset], **provenance: Any) -> xr.Dataset:
    """Parts in the order of their prompts as one dataset, with entries of the provenance that are those of the whole.

    Prompt numbers run on; positions and the vocabulary in use are united, with missing values (NaN, -1 for ids, empty
    text) where a part has no such position. `noise_floor` and `verified_difference` are the largest of the parts,
    `verified_cells` their sum; anything else without a prompt must agree.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    united = {name: union(parts, name) for name in ("position", "vocabulary") if name in first.dims}
    made: dict[str, xr.Variable] = {}
    for key in first.variables:
        name, variable = str(key), first.variables[key]
        if name == "prompt":
            values = np.arange(sum(part.sizes["prompt"] for part in parts), dtype=variable.dtype)
        elif name in united:
            values = united[name]
        elif name == "vocabulary_string":
            strings = {index: text for part in parts for index, text in token_text(part).items()}
            values = np.asarray([strings[i] for i in united["vocabulary"].tolist()], dtype=object)
        elif "prompt" in variable.dims:
            spread = [widened(part, name, united.get("position")) for part in parts]
            values = np.concatenate(spread, axis=variable.dims.index("prompt"))
        else:
            values = agreed(parts, name)
        made[name] = xr.Variable(variable.dims, values, variable.attrs)
    data, coordinates = ({str(n): made[str(n)] for n in names} for names in (first.data_vars, first.coords))
    whole = xr.Dataset(data, coordinates)
    return with_record(whole.assign_attrs(attributes(parts)), parts, provenance)


def union(parts: Sequence[xr.Dataset], name: str) -> np.ndarray:
    """All values of an axis that any part has, in order."""
    return np.unique(np.concatenate([part[name].values for part in parts]))


def widened(part: xr.Dataset, name: str, positions: np.ndarray | None) -> np.ndarray:
    """The values of a variable at all positions of the whole, missing where the part has no such position."""
    variable = part.variables[name]
    if positions is None or "position" not in variable.dims:
        return variable.values
    axis = variable.dims.index("position")
    shape = (*variable.shape[:axis], len(positions), *variable.shape[axis + 1 :])
    values = np.full(shape, MISSING[variable.dtype.kind], variable.dtype)
    places = np.searchsorted(positions, part["position"].values)
    values[(slice(None),) * axis + (places,)] = variable.values
    return values


def agreed(parts: Sequence[xr.Dataset], name: str) -> np.ndarray:
    """Values that every part has alike."""
    values = parts[0][name].values
    if not all(parts[0].variables[name].equals(part.variables[name]) for part in parts):
        raise InputError(f"the parts differ in {name!r}, which is of no prompt; make the analysis in one shard.")
    return values


def attributes(parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Attributes of the whole, without its provenance."""
    made: dict[str, Any] = {}
    for name, value in parts[0].attrs.items():
        each = [part.attrs[name] for part in parts]
        if name in LARGEST:
            there = [one for one in each if not np.isnan(one)]
            made[name] = max(there) if there else value
        elif name in SUMMED:
            made[name] = sum(each)
        elif name != "provenance":
            if any(not np.array_equal(one, value) for one in each):
                raise InputError(f"the parts differ in their attribute {name!r}; make the analysis in one shard.")
            made[name] = value
    return made


def with_record(whole: xr.Dataset, parts: Sequence[xr.Dataset], provenance: dict[str, Any]) -> xr.Dataset:
    """The dataset with the provenance of its parts, but for the entries given; `batch_share` is the least of them."""
    records = [provenance_of(part) for part in parts]
    if not records[0]:
        return whole
    shares = [record["batch_share"] for record in records if "batch_share" in record]
    return with_provenance(whole, **{**records[0], **({"batch_share": min(shares)} if shares else {}), **provenance})
