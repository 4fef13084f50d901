"""What the stages do, as plain numbers with intervals: one module an experiment, of its name.

Each has `summary(dataset)`, plain numbers, and `headline(summary)`, the few of them that are printed.
"""

from importlib import import_module
from types import ModuleType


def of(experiment: str) -> ModuleType:
    """The module of an experiment."""
    return import_module(f"mcinterp.summary.behaviour.{experiment}")
