"""Weights brought into memory: on one device, over several by a device map, quantised, or layer by layer."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mcinterp.checkpoints import Checkpoint, reading, refuse_broken_weights
from mcinterp.errors import InputError, first_line
from mcinterp.placement.folders import TemporaryFolder
from mcinterp.placement.residency import Group
from mcinterp.placement.skeletons import skeleton

WAVE_BYTES = 2**29
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class Hold:
    """How weights are held: `together`, `one` model of the group at a time, or layer by layer (`stream`).

    `spare` bytes are left on the device with the least. `store` is the dtype in which activations wait on disk for the
    stages to come, their own unless it is given.
    """

    placement: str = "together"
    spare: int = 0
    store: torch.dtype | None = None
    group: Group = field(default_factory=Group)

    @property
    def in_turns(self) -> bool:
        """Whether layers are read from disk as they run, so that a model should run as seldom as can be."""
        return self.placement in ("one", "stream")

    @property
    def wave_bytes(self) -> int:
        """Memory for the hidden states of all batches that go through a layer before the next is read."""
        return max(WAVE_BYTES, self.spare // 2)


def load_bridge(checkpoint: Checkpoint, placed: str, dtype: torch.dtype, hold: Hold) -> Any:
    """A checkpoint as a TransformerBridge with raw weights, in eval mode, on a device or spread by a device map."""
    if hold.placement == "one":
        return skeleton(checkpoint, device=placed, dtype=dtype, keep="one", group=hold.group)
    if hold.placement == "stream":
        return skeleton(checkpoint, device=placed, dtype=dtype, keep="stream", group=Group())
    if is_device_map(placed):
        return load_mapped(checkpoint, placed, dtype)
    if checkpoint.quantised:
        return load_quantised(checkpoint, placed, dtype)
    return checkpoint.load(device=placed, dtype=dtype)


def load_mapped(checkpoint: Checkpoint, placed: str, dtype: torch.dtype) -> Any:
    """A checkpoint spread over devices (and disk) by accelerate; not yet tested on several GPUs."""
    folder = TemporaryFolder("mcinterp-offload-")
    bridge = checkpoint.boot(dtype=dtype, device_map=device_map(placed), offload_folder=str(folder.path))
    object.__setattr__(bridge, "mcinterp_offload", folder)
    return bridge


def load_quantised(checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> Any:
    """A checkpoint that was saved quantised (bitsandbytes, or whatever transformers can load here)."""
    try:
        with reading(checkpoint, "its quantised weights"):
            model = checkpoint.read_model(dtype=dtype, device_map={"": device})
            bridge = checkpoint.boot(hf_model=model)
    except ImportError as error:
        raise InputError(
            f"checkpoint {checkpoint.spec!r} is quantised and what reads it is not installed ({first_line(error)}); "
            f"for bitsandbytes run `pip install mcinterp[quantised]`."
        ) from error
    refuse_broken_weights(checkpoint, bridge)
    return bridge


def refuse_quantised(checkpoint: Checkpoint) -> None:
    """Refuse to read the weights of a quantised checkpoint, whose stored numbers are codes."""
    if checkpoint.quantised:
        raise InputError(
            f"checkpoint {checkpoint.spec!r} is quantised and this reads its weights, which are stored as codes; give "
            f"the checkpoint that it was made from, or ask for what reads activations (lenses, patching, behaviour)."
        )


def is_device_map(placed: str) -> bool:
    """Whether this names a device map rather than one device."""
    return placed in DEVICE_MAPS or placed.endswith(".json")


def device_map(placed: str) -> Any:
    """A device map by name, or from a JSON file: an object from names of modules to devices."""
    if placed in DEVICE_MAPS:
        return placed
    try:
        read = json.loads(Path(placed).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"device map {placed!r} cannot be read ({first_line(error)}); give a JSON object from names of modules to "
            f"devices, or one of {', '.join(DEVICE_MAPS)}."
        ) from error
    if not isinstance(read, dict) or not all(isinstance(where, str | int) for where in read.values()):
        raise InputError(f"device map {placed!r} is no JSON object from names of modules to devices; give one that is.")
    if len({str(where) in ("cpu", "disk") for where in read.values()}) > 1:
        raise InputError(
            f"device map {placed!r} mixes a GPU with cpu or disk, which TransformerLens does not load; map to GPUs "
            f"only, or hold the weights layer by layer (placement stream)."
        )
    return read


def usable_device(placed: str) -> str:
    """The device or device map, or an `InputError` where this machine has none of that name."""
    if is_device_map(placed):
        device_map(placed)
        return placed
    try:
        torch.empty(1, device=placed)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device {placed!r} cannot be used on this machine; give cpu, or a device that is there."
        ) from error
    return placed
