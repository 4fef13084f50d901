"""The batteries of prompts that ship with the library."""

from importlib import resources
from typing import Any


def batteries() -> Any:
    """The directory of the shipped batteries."""
    return resources.files("mcinterp").joinpath("batteries")


def battery_names() -> list[str]:
    """Names of the shipped batteries."""
    return sorted(entry.name.removesuffix(".jsonl") for entry in batteries().iterdir() if entry.name.endswith(".jsonl"))
