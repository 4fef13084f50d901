"""The engine that a place names."""

from collections.abc import Callable
from typing import Any

from mcinterp.engines.interface import Engine, Place
from mcinterp.engines.local import LocalEngine
from mcinterp.errors import InputError

ENGINES = ("local", "ray")


def engine_for(place: Place, setting: Any, load: Callable[[], Any], *, gpus: int = 0) -> Engine:
    """The engine of a place; `load` makes the setting anew in another process, which needs so many GPUs.

    Raises `InputError` for an unknown engine, or one whose package is not installed.
    """
    if place.engine == "local":
        return LocalEngine(setting)
    if place.engine != "ray":
        raise InputError(f"engine {place.engine!r} is unknown; give one of {', '.join(ENGINES)}.")
    from mcinterp.engines.ray import RayEngine

    return RayEngine(place, load, gpus)
