"""What stands in every JSON file beside the figures: command, versions, processor and card."""

import json
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("mcinterp", "torch", "transformers", "transformer-lens", "safetensors", "accelerate")
CPU_ONLY = "measured on a CPU: what this says of a card needs a GPU"


def about(device: str = "cpu") -> dict[str, Any]:
    """How the figures were made."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "processor": processor(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's name."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def require_device(device: str) -> str:
    """The device; where this machine lacks it, the program ends with a sentence."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.stderr.write(
            "error: this figure needs a CUDA GPU and none is at hand; run it where there is one, or try the program "
            "with --shape tiny --device cpu.\n"
        )
        sys.exit(2)
    if device == "cpu":
        print(CPU_ONLY)
    return device
