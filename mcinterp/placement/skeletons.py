"""Models built without the weights of their layers, which `mcinterp.placement.residency` reads when they run.

Where each tensor lies is what transformers and accelerate work out for a device map with the layers on disk; tensors
that a checkpoint stores in another form (fused experts), or that TransformerLens makes of a joint matrix (queries, keys
and values of GPT-2 and GPT-NeoX), are written once into a temporary folder.
"""

import ctypes
import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.hooks import remove_hook_from_module
from safetensors.torch import save_file

from mcinterp.checkpoints import Checkpoint, reading
from mcinterp.errors import InputError
from mcinterp.placement.folders import TemporaryFolder
from mcinterp.placement.residency import STORED, Absent, Group, Keep, Residency, Slot, Stored, View
from mcinterp.readout import text_config

RESIDENCY = "mcinterp_residency"
ALLOCATOR = ctypes.CDLL(None) if sys.platform == "linux" else None

logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)


def skeleton(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype, keep: Keep, group: Group) -> Any:
    """A checkpoint as a TransformerBridge whose layers are read when they run; embeddings and readout are in memory.

    Raises `InputError` for an adapter and a quantised checkpoint.
    """
    refuse_unstreamable(checkpoint)
    folder = TemporaryFolder("mcinterp-layers-")
    with reading(checkpoint, "its weights"):
        shapes = checkpoint.model_without_weights()
        places = on_disk(shapes, layers_of(shapes))
        model = checkpoint.read_model(dtype="auto", device_map=places, offload_folder=str(folder.path))
        bridge = checkpoint.boot(hf_model=model)
        for number, block in enumerate(bridge.blocks):
            put_on_disk(block, folder.path / f"split-{number}.safetensors", device, dtype)
        release_from_accelerate(model, device, dtype)
        bridge.cfg.device = device
    layers = [list(slots_of(checkpoint, block)) for block in bridge.blocks]
    return attached(bridge, Residency(checkpoint.spec, layers, device, keep, group, folder))


def attached(bridge: Any, residency: Residency) -> Any:
    """The bridge, whose layers from now on are read when they are entered."""
    for number, block in enumerate(bridge.blocks):
        block.register_forward_pre_hook(partial(enter, residency, number))
    object.__setattr__(bridge, RESIDENCY, residency)
    return bridge.eval()


def put_on_disk(block: Any, file: Path, device: str, dtype: torch.dtype) -> None:
    """Take what TransformerLens made of a layer's tensors (queries, keys, values of a joint matrix) out of memory.

    Pieces of one matrix stay pieces of one: where they lie in memory decides the last bit of their products.
    """
    made = [
        (module, name, parameter)
        for module in block.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and not parameter.is_meta
    ]
    memory = {p.untyped_storage().data_ptr(): torch.empty(0, dtype=p.dtype).set_(p.untyped_storage()) for *_, p in made}
    if made:
        save_file({str(pointer): flat for pointer, flat in memory.items()}, file)
    for module, name, parameter in made:
        absent = Absent(torch.empty_like(parameter, device="meta"), requires_grad=False)
        wanted = dtype if parameter.is_floating_point() else parameter.dtype
        view = View(tuple(parameter.shape), parameter.stride(), parameter.storage_offset())
        key = str(parameter.untyped_storage().data_ptr())
        setattr(absent, STORED, Stored(str(file), key, device, wanted, view))
        module._parameters[name] = absent


def refuse_unstreamable(checkpoint: Checkpoint) -> None:
    """Refuse what cannot be read layer by layer."""
    if checkpoint.adapter is not None:
        raise InputError(
            f"checkpoint {checkpoint.spec!r} is an adapter, which is merged in memory, and its layers cannot be read "
            f"one by one; save the merged checkpoint and give that."
        )
    if checkpoint.quantised:
        raise InputError(
            f"checkpoint {checkpoint.spec!r} is quantised, and its layers cannot be read one by one; load it in memory."
        )


def residency_of(bridge: Any) -> Residency | None:
    """How a bridge's layers are held; None where all of it is in memory."""
    return getattr(bridge, RESIDENCY, None)


def layers_of(model: torch.nn.Module) -> str:
    """The name of the list of layers: the outermost list that is as long as the configuration says."""
    count = int(text_config(model.config).num_hidden_layers)
    lists = [
        name for name, each in model.named_modules() if isinstance(each, torch.nn.ModuleList) and len(each) == count
    ]
    return min(lists, key=lambda name: name.count("."))


def on_disk(model: torch.nn.Module, layers: str, path: str = "") -> dict[str, str]:
    """A device map with the layers on disk and everything else on the CPU."""
    placed: dict[str, str] = {}
    for name, child in model.named_children():
        here = f"{path}.{name}" if path else name
        if here == layers:
            placed[here] = "disk"
        elif layers.startswith(f"{here}."):
            placed |= on_disk(child, layers, here)
        else:
            placed[here] = "cpu"
    return placed


def release_from_accelerate(model: torch.nn.Module, device: str, dtype: torch.dtype) -> None:
    """Note where each absent tensor lies, take accelerate's hooks away, and place what is in memory.

    Buffers keep their dtype (rotary frequencies are float32 in any model), but for the bias of zeros that
    TransformerLens adds to a readout without one.
    """
    hooked = [module for module in model.modules() if "_hf_hook" in module.__dict__]
    for module in hooked:
        offloaded = getattr(module.__dict__["_hf_hook"], "weights_map", None)
        files = getattr(getattr(offloaded, "dataset", None), "index", {})
        for name, parameter in module.named_parameters(recurse=False):
            entry = files.get(f"{offloaded.prefix}{name}") if offloaded is not None and parameter.is_meta else None
            if entry is not None:
                wanted = dtype if parameter.is_floating_point() else parameter.dtype
                absent = Absent(parameter.data, requires_grad=False)
                setattr(absent, STORED, Stored(entry["safetensors_file"], entry["weight_name"], device, wanted))
                module._parameters[name] = absent
        remove_hook_from_module(module)
    del model.hf_device_map
    for parameter in model.parameters():
        if not parameter.is_meta:
            parameter.data = parameter.data.to(device, dtype if parameter.is_floating_point() else None)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            added = name == "bias" and "weight" in module._parameters
            buffer.data = buffer.data.to(device, dtype if added else None)


def slots_of(checkpoint: Checkpoint, block: Any) -> Iterator[Slot]:
    """The parameters of one layer, each once."""
    seen: set[tuple[int, str]] = set()
    for module in block.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or (id(module), name) in seen:
                continue
            seen.add((id(module), name))
            if not hasattr(parameter, STORED):
                raise InputError(
                    f"checkpoint {checkpoint.spec!r}: its layers hold a tensor ({name} of a {type(module).__name__}) "
                    f"that lies in no file, so they cannot be read one by one; hold the weights together in memory."
                )
            yield Slot(module, name, parameter)


def enter(residency: Residency, layer: int, block: Any, inputs: Any) -> None:
    """Before a layer runs: have its weights in place, unless something else stands in for it."""
    if "forward" not in block.__dict__ and layer not in residency.present:
        residency.enter(layer)
        give_back()


def give_back() -> None:
    """Have what dropped layers took given back to the system; glibc keeps tensors of less than 32 MB for itself."""
    trim = getattr(ALLOCATOR, "malloc_trim", None)
    if trim is not None:
        trim(0)
