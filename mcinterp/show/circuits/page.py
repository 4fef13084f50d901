"""Components in one closed HTML document that opens from disk, the JavaScript in it once."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from mcinterp.errors import InputError
from mcinterp.results import write_text
from mcinterp.show.circuits.component import HERE, Component, box, javascript

Components = Component | Sequence[Component] | Mapping[str, Component | Sequence[Component]]

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def page(components: Components, *, title: str = "mcinterp") -> str:
    """One HTML document of any number of components, light or dark as the reader's system is.

    `components` is one, a list, or a mapping from headings to one or a list. The document asks for nothing but itself
    (its security policy forbids it). Raises `InputError` where there is nothing to draw or something else is given.
    """
    sections = (
        components if isinstance(components, Mapping) and not isinstance(components, Component) else {"": components}
    )
    body = "".join(section(str(heading), listed(each)) for heading, each in sections.items())
    if not body:
        raise InputError("there are no components to put on the page; give at least one.")
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{body}<script>{javascript()}</script></body></html>\n"
    )


def save(components: Components, path: str | Path, *, title: str = "mcinterp") -> Path:
    """Write `page(components, title=title)` to a file, whole or not at all."""
    return write_text(path, page(components, title=title))


def listed(components: Component | Sequence[Component]) -> list[Component]:
    """One component or several as a list."""
    several = [components] if isinstance(components, Component) else list(components)
    for each in several:
        if not isinstance(each, Component):
            raise InputError(
                f"got a {type(each).__name__} among the components; give what mcinterp.show.circuits makes."
            )
    return several


def section(heading: str, components: Sequence[Component]) -> str:
    """A heading, and each component under its caption."""
    figures = "".join(
        f"<figure><figcaption>{escape(each.get('caption', ''))}</figcaption>{box(each)}</figure>\n"
        for each in components
    )
    return f"<section>{f'<h2>{escape(heading)}</h2>' if heading else ''}\n{figures}</section>\n" if components else ""
