"""Figures as text: a mean with its interval, and Markdown tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mcinterp.statistics import ENDS


def interval(value: Mapping[str, Any], digits: int = 2) -> str:
    """A mean with its 95 % interval; nothing where it is missing."""
    mean, low, high = (value[name] for name in ENDS)
    if missing(mean):
        return ""
    ends = "–" if missing(low) or missing(high) else f"{low:.{digits}f}, {high:.{digits}f}"
    return f"{mean:.{digits}f} [{ends}]"


def missing(value: float | None) -> bool:
    """Whether a figure is missing: not a number, or null in a summary that was read from its file."""
    return value is None or math.isnan(value)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
