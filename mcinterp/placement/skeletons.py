"""Models built without the weights of their layers, which `mcinterp.placement.residency` reads when they run.

Where each tensor lies is what transformers and accelerate work out for a device map with the layers on disk; tensors
that a checkpoint stores in another form (fused experts, say) are converted once into a temporary folder.
"""

import ctypes
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate.hooks import remove_hook_from_module

from mcinterp.checkpoints import Checkpoint, reading
from mcinterp.errors import InputError
from mcinterp.placement.residency import STORED, Absent, Group, Keep, Residency, Slot, Stored
from mcinterp.readout import text_config

RESIDENCY = "mcinterp_residency"
ALLOCATOR = ctypes.CDLL(None) if sys.platform == "linux" else None

logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)


def skeleton(checkpoint: Checkpoint, *, device: str, dtype: torch.dtype, keep: Keep, group: Group) -> Any:
    """A checkpoint as a TransformerBridge whose layers are read when they run; embeddings and readout are in memory.

    Raises `InputError` for an adapter, a quantised checkpoint, and an architecture whose layers hold tensors that are
    made from several of the file's (joint query, key and value matrices).
    """
    refuse_unstreamable(checkpoint)
    folder = tempfile.TemporaryDirectory(prefix="mcinterp-layers-")
    with reading(checkpoint, "its weights"):
        shapes = checkpoint.model_without_weights()
        places = on_disk(shapes, layers_of(shapes))
        model = checkpoint.read_model(dtype="auto", device_map=places, offload_folder=folder.name)
        release_from_accelerate(model, device, dtype)
        with refusing_joint_matrices(checkpoint):
            bridge = checkpoint.boot(hf_model=model)
    bridge.cfg.device = device
    layers = [list(slots_of(checkpoint, block)) for block in bridge.blocks]
    return attached(bridge, Residency(checkpoint.spec, layers, device, keep, group, folder))


def attached(bridge: Any, residency: Residency) -> Any:
    """The bridge, whose layers from now on are read when they are entered."""
    for number, block in enumerate(bridge.blocks):
        block.register_forward_pre_hook(partial(enter, residency, number))
    object.__setattr__(bridge, RESIDENCY, residency)
    return bridge.eval()


def joint(checkpoint: Checkpoint) -> InputError:
    """What is said of layers whose tensors TransformerLens makes of others."""
    return InputError(
        f"checkpoint {checkpoint.spec!r}: its layers hold tensors that lie in no file as they are (a joint matrix of "
        f"queries, keys and values, say), so they cannot be read one by one; hold the weights together in memory."
    )


@contextmanager
def refusing_joint_matrices(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn what the bridge says of joint matrices whose values are on disk into a sentence."""
    try:
        yield
    except (LookupError, RuntimeError, ValueError, NotImplementedError) as error:
        raise joint(checkpoint) from error


def refuse_unstreamable(checkpoint: Checkpoint) -> None:
    """Refuse what cannot be read layer by layer."""
    if checkpoint.adapter is not None:
        raise InputError(
            f"checkpoint {checkpoint.spec!r} is an adapter, which is merged in memory, and its layers cannot be read "
            f"one by one; save the merged checkpoint and give that."
        )
    if getattr(checkpoint.config, "quantization_config", None) is not None:
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
    """Note where each absent tensor lies, take accelerate's hooks away, and place what is in memory."""
    for module in model.modules():
        offloaded = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
        files = getattr(getattr(offloaded, "dataset", None), "index", {})
        for name, parameter in module.named_parameters(recurse=False):
            entry = files.get(f"{offloaded.prefix}{name}") if offloaded is not None and parameter.is_meta else None
            if entry is not None:
                wanted = dtype if parameter.is_floating_point() else parameter.dtype
                absent = Absent(parameter.data, requires_grad=False)
                setattr(absent, STORED, Stored(entry["safetensors_file"], entry["weight_name"], device, wanted))
                module._parameters[name] = absent
    remove_hook_from_module(model, recurse=True)
    del model.hf_device_map
    for parameter in model.parameters():
        if not parameter.is_meta:
            parameter.data = parameter.data.to(device, dtype if parameter.is_floating_point() else None)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)


def slots_of(checkpoint: Checkpoint, block: Any) -> Iterator[Slot]:
    """The parameters of one layer, each once."""
    seen: set[tuple[int, str]] = set()
    for module in block.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or (id(module), name) in seen:
                continue
            seen.add((id(module), name))
            if not hasattr(parameter, STORED):
                raise joint(checkpoint)
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
