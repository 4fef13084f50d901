"""Layers whose weights lie on disk until they run, for models that memory does not hold.

A model is built without the weights of its layers (transformers' own disk offload says in which file each tensor lies).
A layer's tensors are read when it is entered, from memory-mapped safetensors files, while a thread already reads the
next layer's. Under `stream` a layer's tensors go when another is entered, so memory holds about two layers; under
`one` they stay until another model of the same group is entered, so memory holds one model of several.
"""

import copy
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from safetensors import safe_open

from mcinterp.errors import InputError
from mcinterp.placement.folders import TemporaryFolder

Keep = Literal["stream", "one"]
Fetched = tuple[list[torch.Tensor], Any]
STORED, OWN = "mcinterp_stored", "mcinterp_own"
READERS = min(4, os.cpu_count() or 1)


class View(NamedTuple):
    """Which part of a stored tensor's memory a parameter is."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


class Stored(NamedTuple):
    """Where a tensor lies on disk, and the device and dtype that it is wanted in; a `view` is a part of it."""

    file: str
    key: str
    device: str
    dtype: torch.dtype
    view: View | None = None

    def read(self) -> torch.Tensor:
        """The tensor, read now."""
        return self.part(self.sent(self.fetched()))

    def part(self, tensor: torch.Tensor) -> torch.Tensor:
        """The parameter in the tensor that was read."""
        return tensor if self.view is None else tensor.as_strided(*self.view)

    def fetched(self) -> torch.Tensor:
        """The whole tensor of the file in the wanted dtype, in host memory of its own, pinned where a GPU wants it."""
        with safe_open(self.file, framework="pt") as opened:
            tensor = opened.get_tensor(self.key)
        return (
            tensor.to(self.dtype).pin_memory() if self.device.startswith("cuda") else tensor.to(self.dtype, copy=True)
        )

    def sent(self, tensor: torch.Tensor) -> torch.Tensor:
        """What was fetched, on the wanted device; a pinned tensor is on its way when this returns."""
        return tensor.to(self.device, non_blocking=tensor.is_pinned())


class Absent(torch.nn.Parameter):
    """Stands in for a parameter that is on disk: has shape and dtype but no values, and computing with it is an error.

    Its values are read by `value_of`; a layer's forward pass finds them in place.
    """

    ABOUT = frozenset(
        {"size", "dim", "numel", "nelement", "stride", "element_size", "is_floating_point", "is_complex", "type"}
        | {"requires_grad_", "is_contiguous", "storage_offset", "__get__", "__set__", "__repr__", "__hash__"}
    )

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer questions about shape and dtype; refuse to compute."""
        if getattr(func, "__name__", "") not in cls.ABOUT:
            raise LookupError(
                f"{getattr(func, '__name__', func)} was called on weights that are on disk; read them with "
                f"mcinterp.placement.residency.value_of, or hold the weights together in memory."
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


class Slot(NamedTuple):
    """One parameter of a layer: the module that holds it, its name there, and what stands in while it is on disk."""

    holder: torch.nn.Module
    attribute: str
    absent: torch.nn.Parameter


@dataclass
class Group:
    """Models of which one at a time has its layers in memory."""

    resident: "Residency | None" = None


@dataclass
class Residency:
    """The layers of one model, and which of them are in memory.

    `folder` lives as long as this (converted tensors lie in it). `reads` counts how often each layer was read,
    `bytes_read` what that came to.
    """

    name: str
    layers: list[list[Slot]]
    device: str
    keep: Keep
    group: Group
    folder: TemporaryFolder | None = None
    present: set[int] = field(default_factory=set)
    reads: Counter[int] = field(default_factory=Counter)
    bytes_read: int = 0
    proven: set[int] = field(default_factory=set)
    coming: dict[int, "Future[Fetched]"] = field(default_factory=dict)
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="layers"))

    def enter(self, layer: int) -> None:
        """Have a layer's weights in place, drop those that need not stay, and let the next layer be read."""
        if layer in self.present:
            return
        if self.group.resident not in (None, self):
            self.group.resident.leave()
        self.group.resident = self
        if self.keep == "stream":
            self.drop(self.present)
        self.place(layer, self.take(layer))
        following = layer + 1
        if following < len(self.layers) and following not in self.present:
            self.coming[following] = self.reader.submit(self.read, following)

    def take(self, layer: int) -> Fetched:
        """A layer's tensors, from the thread that reads ahead or read now."""
        ready = self.coming.pop(layer, None)
        for other in list(self.coming):
            self.coming.pop(other).cancel()
        return ready.result() if ready is not None else self.reader.submit(self.read, layer).result()

    def read(self, layer: int) -> Fetched:
        """Read a layer's tensors, several at once; on a GPU they are copied on a stream of their own."""
        stream = torch.cuda.Stream(self.device) if self.device.startswith("cuda") else None
        wanted = [stored_of(slot.absent) for slot in self.layers[layer]]
        whole = {(place.file, place.key): place for place in wanted}
        with ThreadPoolExecutor(READERS) as pool, torch.inference_mode(False), torch.cuda.stream(stream):
            fetched = pool.map(Stored.fetched, whole.values())
            sent = {name: place.sent(host) for (name, place), host in zip(whole.items(), fetched, strict=True)}
            tensors = [place.part(sent[place.file, place.key]) for place in wanted]
        self.bytes_read += sum(tensor.nbytes for tensor in sent.values())
        self.reads[layer] += 1
        return tensors, stream.record_event() if stream is not None else None

    def place(self, layer: int, read: Fetched) -> None:
        """Put a layer's tensors into its modules, where nothing else was put in the meantime."""
        tensors, event = read
        if event is not None:
            torch.cuda.current_stream(self.device).wait_event(event)
        for slot, tensor in zip(self.layers[layer], tensors, strict=True):
            if layer not in self.proven:
                self.require_finite(slot, tensor)
            if event is not None:
                tensor.record_stream(torch.cuda.current_stream(self.device))
            if slot.holder._parameters[slot.attribute] is slot.absent:
                parameter = torch.nn.Parameter(tensor, requires_grad=False)
                setattr(parameter, OWN, True)
                slot.holder._parameters[slot.attribute] = parameter
        self.proven.add(layer)
        self.present.add(layer)

    def require_finite(self, slot: Slot, tensor: torch.Tensor) -> None:
        """Refuse NaN or infinite weights when they are first read."""
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"checkpoint {self.name!r}: tensor {stored_of(slot.absent).key} holds NaN or infinite values and "
                f"finite weights are wanted; save the checkpoint again."
            )

    def drop(self, layers: Iterable[int]) -> None:
        """Take the tensors of some layers out of memory; what others put in their place stays."""
        for layer in list(layers):
            for slot in self.layers[layer]:
                if hasattr(slot.holder._parameters[slot.attribute], OWN):
                    slot.holder._parameters[slot.attribute] = slot.absent
            self.present.discard(layer)

    def put_back(self, slot: Slot, layer: int, before: torch.nn.Parameter) -> None:
        """Undo what was put in a slot: its own tensor where it is still in memory, else the layer is read again."""
        if hasattr(before, OWN) and layer in self.present:
            slot.holder._parameters[slot.attribute] = before
            return
        slot.holder._parameters[slot.attribute] = slot.absent
        self.drop({layer} & self.present)

    def slot(self, layer: int, holder: torch.nn.Module, attribute: str) -> Slot:
        """The slot of a module's parameter."""
        return next(s for s in self.layers[layer] if s.holder is holder and s.attribute == attribute)

    def leave(self) -> None:
        """Take all layers out of memory."""
        for future in self.coming.values():
            future.cancel()
        self.coming.clear()
        self.drop(self.present)


def stored_of(parameter: Any) -> Stored:
    """Where an absent parameter lies on disk."""
    return getattr(parameter, STORED)


def value_of(parameter: torch.Tensor) -> torch.Tensor:
    """A parameter's values, read from disk for this once where they are not in memory."""
    stored = getattr(parameter, STORED, None)
    return parameter.detach() if stored is None else stored.read()


def kind_of(parameter: torch.Tensor) -> tuple[str | torch.device, torch.dtype]:
    """The device and dtype of a parameter's values, wherever these are."""
    stored = getattr(parameter, STORED, None)
    return (parameter.device, parameter.dtype) if stored is None else (stored.device, stored.dtype)


def materialised(module: torch.nn.Module) -> torch.nn.Module:
    """The module itself where its weights are in memory, else a copy with them read from disk."""
    absent = {id(p): torch.nn.Parameter(value_of(p), False) for p in module.parameters() if hasattr(p, STORED)}
    return copy.deepcopy(module, absent) if absent else module


def weights_of(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter of a model by name, one at a time in memory."""
    for name, parameter in model.named_parameters():
        yield name, value_of(parameter)
