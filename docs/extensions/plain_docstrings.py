"""Docstrings as they are written here, plain prose with code in backticks, made into what Sphinx reads."""

import re
from typing import Any

CODE = re.compile(r"(``?)(?P<code>[^`]+)\1(?P<letters>\w?)")
MARKS = re.compile(r"([\\*|]|(?<=\w)_(?=\W|$))")


def as_restructured(text: str) -> str:
    """Prose in which only what stands in backticks is markup: `code` becomes a literal, other marks are escaped."""
    pieces, end = [], 0
    for match in CODE.finditer(text):
        pieces.append(MARKS.sub(r"\\\1", text[end : match.start()]))
        after = match["letters"]
        pieces.append(f"``{match['code']}``" + (rf"\ {after}" if after else ""))
        end = match.end()
    return "".join(pieces) + MARKS.sub(r"\\\1", text[end:])


PLAIN: dict[str, list[str]] = {}
"""Docstrings of attributes and properties, in which napoleon would take what stands before a colon for a type."""


def process(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Change a docstring's lines in their place, before napoleon reads its sections."""
    lines[:] = as_restructured("\n".join(lines)).split("\n")
    if what in ("attribute", "data", "property"):
        PLAIN[name] = list(lines)


def restore(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Put back, behind napoleon, what it has no sections to read in."""
    lines[:] = PLAIN.pop(name, lines)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
    return {"parallel_read_safe": True}
