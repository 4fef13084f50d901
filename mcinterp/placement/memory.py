"""How much memory checkpoints take, and how their weights are therefore held.

`together`: all stages in memory at once. `one`: the layers of one stage at a time, the activations that another stage
needs of it on disk. `stream`: about two layers of each stage at a time. Embeddings and unembeddings stay in memory
always. The estimate is made from configurations, before any weight is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from mcinterp.checkpoints import Checkpoint
from mcinterp.errors import InputError
from mcinterp.readout import text_config

PLACEMENTS = ("auto", "together", "one", "stream")
GB = 1e9
WORKING = 1.5e9
USABLE = 0.9
CONTROL_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Need:
    """Bytes of one checkpoint's weights: all of them, those outside the layers, and one layer's."""

    name: str
    device: str
    total: int
    outside: int
    layer: int


@dataclass(frozen=True)
class Estimate:
    """What the stages need and what there is on each device, in bytes, and how weights are held for it."""

    needs: tuple[Need, ...]
    available: dict[str, int]
    placement: str
    forced: bool

    def __str__(self) -> str:
        stages = ", ".join(f"{need.name} {need.total / GB:.2f} GB on {need.device}" for need in self.needs)
        there = ", ".join(f"{size / GB:.2f} GB on {device}" for device, size in self.available.items())
        why = "as asked" if self.forced else "chosen"
        peak = ", ".join(f"{size / GB:.2f} GB on {device}" for device, size in self.peak().items())
        return f"memory: weights {stages}; available {there}; held {self.placement} ({why}), which needs about {peak}"

    @property
    def spare(self) -> int:
        """Bytes that are left on the device with the least, none below zero."""
        peak = self.peak()
        return max(0, min(int(USABLE * there) - peak[device] for device, there in self.available.items()))

    def peak(self, placement: str | None = None) -> dict[str, int]:
        """Bytes that a placement needs on each device, with what activations take."""
        chosen = placement or self.placement
        return {device: held(chosen, [n for n in self.needs if n.device == device]) for device in self.available}


def held(placement: str, needs: Sequence[Need]) -> int:
    """Bytes that the stages on one device need under a placement."""
    outside = sum(need.outside for need in needs)
    layers = {
        "together": sum(need.total - need.outside for need in needs),
        "one": max(need.total - need.outside for need in needs),
        "stream": sum(2 * need.layer for need in needs),
    }
    return int(outside + layers[placement] + WORKING)


def estimated(
    checkpoints: Sequence[Checkpoint],
    devices: Sequence[str],
    dtypes: Sequence[torch.dtype],
    *,
    placement: str = "auto",
    memory: float | None = None,
) -> Estimate:
    """What the checkpoints need, and the placement asked for or else the first that fits.

    `memory` is a limit in GB for each device instead of what is free there. Raises `InputError` for an unknown
    placement or a limit that is no positive number.
    """
    if placement not in PLACEMENTS:
        raise InputError(f"placement {placement!r} is unknown; give one of {', '.join(PLACEMENTS)}.")
    if memory is not None and not memory > 0:
        raise InputError(f"a memory limit of {memory} GB was given; give a positive number.")
    needs = tuple(need_of(*each) for each in zip(checkpoints, devices, dtypes, strict=True))
    there = {device: int(memory * GB) if memory else free_bytes(device) for device in dict.fromkeys(devices)}
    if placement != "auto":
        return Estimate(needs, there, placement, forced=True)
    chosen = "stream"
    for candidate in ("together", "one"):
        peak = Estimate(needs, there, candidate, forced=False).peak()
        if all(peak[device] <= USABLE * there[device] for device in there):
            chosen = candidate
            break
    return Estimate(needs, there, chosen, forced=False)


def need_of(checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> Need:
    """What one checkpoint's weights take in a dtype; as stored where it is quantised."""
    model = checkpoint.model_without_weights()
    width = torch.finfo(dtype).bits // 8
    inside = sum(p.numel() for name, p in model.named_parameters() if is_inside(name))
    total = sum(p.numel() for p in model.parameters())
    n_layers = int(text_config(checkpoint.config).num_hidden_layers)
    layers = inside * (bits_of(checkpoint.config.quantization_config) / 8 if checkpoint.quantised else width)
    return Need(
        checkpoint.name,
        device,
        int(layers + (total - inside) * width),
        (total - inside) * width,
        int(layers / n_layers),
    )


def is_inside(name: str) -> bool:
    """Whether a parameter belongs to a layer: its name has a number in it."""
    return any(part.isdigit() for part in name.split("."))


def bits_of(quantised: object) -> int:
    """Bits a weight of a quantised checkpoint takes."""
    asked = quantised if isinstance(quantised, dict) else vars(quantised)
    if asked.get("load_in_4bit") or asked.get("_load_in_4bit"):
        return 4
    return int(asked.get("bits") or 8)


def free_bytes(device: str) -> int:
    """Bytes that are free on a device; for several by a device map, on all CUDA devices and the CPU together."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    if device in ("cpu", "meta"):
        return min(psutil.virtual_memory().available, unclaimed_bytes())
    cuda = sum(torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count()))
    return int(cuda + free_bytes("cpu"))


def unclaimed_bytes() -> int:
    """What the control group of this process may still take; as good as all where it is not limited."""
    root = CONTROL_GROUP
    try:
        limit, used = (root / "memory.max").read_text().strip(), (root / "memory.current").read_text().strip()
        return int(limit) - int(used) if limit != "max" else 2**62
    except (OSError, ValueError):
        return 2**62
