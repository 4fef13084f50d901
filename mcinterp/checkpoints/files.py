"""The files that hold a local checkpoint's weights, looked at before anything is built from them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open

from mcinterp.checkpoints.reading import named, reading
from mcinterp.errors import InputError, first_line, quoted

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTER, PICKLED_ADAPTER = "adapter_model.safetensors", "adapter_model.bin"
OTHER_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")


class Tensor(NamedTuple):
    """A stored tensor: its shape, and its dtype as the file names it."""

    shape: tuple[int, ...]
    dtype: str


Stored = dict[str, Tensor]


def stored_tensors(checkpoint: Any) -> Stored | None:
    """A local checkpoint's tensors by name, from the files' headers; None for a hub id or a pickle.

    Raises `InputError` for files that are missing, broken or pickled.
    """
    folder = Path(checkpoint.location)
    if checkpoint.adapter is not None:
        adapter_file(checkpoint)
    if not folder.is_dir():
        return None
    with reading(checkpoint, "its weights"):
        files = weight_files(checkpoint, folder)
        return None if files is None else {name: each for file in files for name, each in header(file).items()}


def header(file: Path) -> Stored:
    """The tensors in one file; reading the header proves that it fits the file."""
    try:
        with safe_open(str(file), framework="pt") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {name: Tensor(tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except Exception as error:
        raise ValueError(f"{quoted(file.name)}: {error}") from error


def weight_files(checkpoint: Any, folder: Path) -> list[Path] | None:
    """The safetensors files of a directory; None where pickled ones are there instead and allowed."""
    explicit = getattr(checkpoint.config, "transformers_weights", None)
    if explicit is not None:
        raise ValueError(f"its config.json names {quoted(explicit)} as its weights, and {WEIGHTS} is wanted")
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return [present(folder, name) for name in shards(folder / INDEX)]
    if any((folder / name).is_file() for name in PICKLED):
        if checkpoint.trust.pickled:
            return None
        raise refused_pickle(checkpoint, next(name for name in PICKLED if (folder / name).is_file()))
    others = sorted(file.name for pattern in OTHER_PICKLES for file in folder.glob(pattern))
    there = f"only {quoted(others[0])} is there, a pickle that can run code" if others else "no weights are there"
    raise ValueError(f"{there}, and {WEIGHTS} is wanted")


def shards(index: Path) -> list[str]:
    """The files that an index names, each once, in order."""
    try:
        read = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{INDEX} is not JSON: {first_line(error)}") from error
    places = read.get("weight_map") if isinstance(read, dict) else None
    if not isinstance(read, dict) or not isinstance(read.get("metadata"), dict):
        raise ValueError(f"{INDEX} is no object with `metadata` and `weight_map`")
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{INDEX} has no `weight_map` from tensors to files")
    return sorted(set(places.values()))


def present(folder: Path, name: str) -> Path:
    """A file that an index names: a safetensors file that lies in the directory."""
    if Path(name).name != name or not name.endswith(".safetensors"):
        raise ValueError(f"{INDEX} names {quoted(name)}, which is no safetensors file of this directory")
    if not (folder / name).is_file():
        raise ValueError(f"{INDEX} names {quoted(name)}, which is not there")
    return folder / name


def adapter_file(checkpoint: Any) -> Path | None:
    """The adapter's weights; None where they are pickled and that is allowed."""
    if (checkpoint.adapter / ADAPTER).is_file():
        with reading(checkpoint, "its adapter's weights"):
            header(checkpoint.adapter / ADAPTER)
        return checkpoint.adapter / ADAPTER
    if not (checkpoint.adapter / PICKLED_ADAPTER).is_file():
        raise InputError(f"{named(checkpoint)}: the adapter has no {ADAPTER}; give a directory saved by PEFT.")
    if not checkpoint.trust.pickled:
        raise refused_pickle(checkpoint, PICKLED_ADAPTER)
    return None


def refused_pickle(checkpoint: Any, file: str) -> InputError:
    """That weights are in a format that can run code, and are not read."""
    return InputError(
        f"{named(checkpoint)} holds its weights as a pickle ({file}), which can run code and is not read unless asked "
        f"for; save it as safetensors, or if you trust it give --allow-pickle (Trust(pickled=True))."
    )
