"""The directive `measures`: every variable of a result with its unit and definition, from `mcinterp.variables`."""

import re
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from mcinterp.variables import VARIABLES

MARKS = re.compile(r"([\\`*_{}\[\]<>|$#~^])")


def table() -> str:
    """A row a variable, in Markdown, in the order of the source: those that belong together stand together."""
    rows = ["| variable | unit | definition |", "|---|---|---|"]
    for name, (unit, definition) in VARIABLES.items():
        rows.append(f"| `{name}` | {plain(unit)} | {plain(definition)} |")
    return "\n".join(rows) + "\n"


def plain(text: str) -> str:
    """Text without meaning to Markdown."""
    return MARKS.sub(r"\\\1", text)


class Measures(SphinxDirective):
    """The table of all variables."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        return self.parse_text_to_nodes(table())


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("measures", Measures)
    return {"parallel_read_safe": True}
