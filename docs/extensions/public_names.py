"""The directive `public-names`: every name of `mcinterp` itself, from the table it is loaded by."""

from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import mcinterp


def documented(name: str) -> str:
    """What has a name of the package documented, as reStructuredText."""
    home = f"mcinterp.{mcinterp.HOMES[name]}"
    found = getattr(import_module(home), name)
    if isinstance(found, type) and issubclass(found, Exception):  # its own page is what `Raises` links to
        return f".. autoexception:: mcinterp.{name}\n   :no-index:\n"
    if home == f"mcinterp.{name}":  # a module of the same name stands in its place
        return f".. autofunction:: {home}.{name}\n   :no-index:\n"
    return f".. auto{'class' if isinstance(found, type) else 'function'}:: mcinterp.{name}\n"


class PublicNames(SphinxDirective):
    """All names in the order of `mcinterp.HOMES`."""

    def run(self) -> list[nodes.Node]:
        """The names with their docstrings."""
        text = "\n".join(documented(name) for name in mcinterp.HOMES)
        return self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}\n```\n")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True}
