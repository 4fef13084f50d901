"""What leaves a measurement: labelled datasets with units and provenance, saved as NetCDF.

Nothing here needs torch or a model, so results can be read where neither is installed.

Dimensions are always `stage`, `prompt`, `position`, `layer`, `head`, `site`, `direction`, `token`, and `lens` for the
ways a layer is read. A difference is always tuned minus base.
"""

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from safetensors import SafetensorError

from mcinterp.budget import BUDGET
from mcinterp.errors import InputError, first_line
from mcinterp.variables import variable

VERSIONED = ("mcinterp", "torch", "transformers", "transformer-lens", "numpy")
PARTIAL = ".partial"
PROBE_BYTES = 2**20
Ready = Callable[[], None]


class Unwritable(InputError):
    """A file that cannot be written: which one, the reason, and what to do."""

    path: str | Path
    reason: str
    remedy: str

    def __init__(self, path: str | Path, reason: str, remedy: str = "free space or give another place") -> None:
        super().__init__(f"{path} cannot be written ({reason}); {remedy}.")
        self.path, self.reason, self.remedy = path, reason, remedy

    def __reduce__(self) -> tuple[type, tuple[str | Path, str, str]]:
        return type(self), (self.path, self.reason, self.remedy)


def describe(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with the unit and definition of every variable that has one."""
    for name in dataset.variables:
        known = variable(str(name))
        if known is not None:
            dataset[name].attrs.update(units=known.unit, long_name=known.definition)
    return dataset


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {name: version(name) for name in VERSIONED}


def with_provenance(dataset: xr.Dataset, **provenance: Any) -> xr.Dataset:
    """The dataset with how it was made, as JSON in its attribute `provenance`."""
    halved = {"batch_share": BUDGET.share} if BUDGET.share != 1 else {}
    record = {"versions": library_versions(), **halved, **provenance}
    return dataset.assign_attrs(provenance=json.dumps(record, sort_keys=True))


def derived(dataset: xr.Dataset, source: xr.Dataset, **provenance: Any) -> xr.Dataset:
    """A dataset computed from another: described, with the other's provenance and what was done to it."""
    record = {**provenance_of(source), **provenance}
    return describe(dataset).assign_attrs(provenance=json.dumps(record, sort_keys=True))


def provenance_of(dataset: xr.Dataset) -> dict[str, Any]:
    """How a dataset was made."""
    return json.loads(dataset.attrs.get("provenance", "{}"))


def together(parts: Sequence[xr.Dataset], analysis: str) -> xr.Dataset:
    """Several results on the same prompts as one; a stage that one of them leaves out is missing there.

    Each keeps its provenance under the name of its analysis. Raises `InputError` where the prompts differ.
    """
    if any(not np.array_equal(parts[0]["text"].values, part["text"].values) for part in parts):
        raise InputError("the results are of different prompts; put together those of one battery.")
    whole = xr.merge(parts, join="outer", compat="override", combine_attrs="override")
    whole = whole.sel(stage=max((part["stage"].values.tolist() for part in parts if "stage" in part), key=len))
    records = {provenance_of(part)["analysis"]: provenance_of(part) for part in parts}
    return with_provenance(whole, analysis=analysis, **records)


def with_token_strings(dataset: xr.Dataset, decode: Callable[[int], str], *ids: np.ndarray) -> xr.Dataset:
    """The dataset with a coordinate `vocabulary` of the token ids in use and their strings `vocabulary_string`."""
    used = sorted({int(i) for each in ids for i in np.unique(each) if i >= 0})
    return dataset.assign_coords(vocabulary=used, vocabulary_string=("vocabulary", [decode(i) for i in used]))


def token_text(dataset: xr.Dataset) -> Mapping[int, str]:
    """From token id to string, for the ids that the dataset uses."""
    return dict(zip(dataset["vocabulary"].values.tolist(), dataset["vocabulary_string"].values.tolist(), strict=True))


def difference(tuned: xr.Dataset, base: xr.Dataset) -> xr.Dataset:
    """tuned - base, refusing coordinates that differ (plain subtraction would drop them silently)."""
    with xr.set_options(keep_attrs=True):
        try:
            left, right = xr.align(tuned, base, join="exact")
        except ValueError as error:
            raise InputError(
                f"the datasets do not cover the same cells ({first_line(error)}); compare equal runs."
            ) from error
        numeric = [name for name in left.data_vars if np.issubdtype(left[name].dtype, np.floating)]
        return left[numeric] - right[numeric]


def save(dataset: xr.Dataset, path: str | Path, ready: Ready | None = None) -> Path:
    """Write a dataset as NetCDF, whole or not at all; see `write_whole`."""
    packed = {
        str(name): {"zlib": True, "complevel": 4} for name in dataset.data_vars if dataset[name].dtype.kind in "fiu"
    }
    return write_whole(path, lambda file: dataset.to_netcdf(file, engine="netcdf4", encoding=packed), ready)


def load(path: str | Path) -> xr.Dataset:
    """Read a dataset that was saved; the file is closed afterwards."""
    if not Path(path).is_file():
        raise InputError(f"there is no results file {str(path)!r}; give one that a run has written.")
    try:
        return xr.load_dataset(path, engine="netcdf4")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"results file {str(path)!r} cannot be read ({first_line(error)}); run the analysis again."
        ) from error


def made_folder(folder: str | Path, remedy: str = "give another") -> Path:
    """A directory, made where it is not there; `InputError` with what to do where it cannot be."""
    where = Path(folder).expanduser()
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"directory {str(folder)!r} cannot be made ({first_line(error)}); {remedy}.") from error
    return where


def write_whole(path: str | Path, write: Callable[[str], Any], ready: Ready | None = None) -> Path:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step, safe on the disk.

    `ready` is called once the content is safe, before it takes its place. Raises `Unwritable` where the file cannot be
    written; what stood there before is left.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    try:
        write(str(temporary))
        os.chmod(temporary, 0o644)
        flush(temporary)
        if ready is not None:
            ready()
        os.replace(temporary, target)
        flush(target.parent)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise Unwritable(target, why_unwritten(temporary, error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def flush(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def why_unwritten(file: Path, error: Exception) -> str:
    """The system's own reason; a library that does not say it is asked by writing a little more to the same file."""
    if isinstance(error, OSError) and error.strerror and (error.errno or 0) > 0:
        return error.strerror
    try:
        with open(file, "ab", buffering=0) as handle:
            handle.write(bytes(PROBE_BYTES))
            os.fsync(handle.fileno())
    except OSError as own:
        return own.strerror or first_line(own)
    return first_line(error)


def write_text(path: str | Path, text: str, ready: Ready | None = None) -> Path:
    """Write text, whole or not at all."""
    return write_whole(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"), ready)


def write_json(path: str | Path, value: Any, ready: Ready | None = None) -> Path:
    """Write plain data as indented JSON; numbers that are missing become null."""
    return write_text(path, json.dumps(without_nan(value), indent=2, ensure_ascii=False) + "\n", ready)


def without_nan(value: Any) -> Any:
    """Plain data with numpy scalars as Python ones and every NaN or infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    if isinstance(value, np.ndarray):
        return without_nan(value.tolist())
    if isinstance(value, np.generic):
        return without_nan(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
