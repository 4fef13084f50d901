"""Whether a run that is to be resumed was asked the same as now."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mcinterp.errors import InputError

LONGEST = 60


def refuse_changed(path: Path, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to resume where anything that the numbers depend on has changed, naming the first change."""
    was, asked = dict(leaves(earlier)), dict(leaves(now))
    for name in dict.fromkeys((*asked, *was)):
        if was.get(name) != asked.get(name):
            raise InputError(
                f"the run in {str(path)!r} was made with {name} = {short(was.get(name))} and now it is "
                f"{short(asked.get(name))}; ask the same to resume it, or give --replace."
            )


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every entry of nested mappings with its path."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, each in value.items():
        yield from leaves(each, f"{name}.{key}" if name else str(key))


def short(value: Any) -> str:
    """A value as text that fits into a sentence."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
