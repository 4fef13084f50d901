"""Components in Jupyter: the script goes out once a session, and a box that lacks it says so."""

import sys
from dataclasses import dataclass
from html import escape

from mcinterp.show.circuits.component import Component, box, javascript

DRAW = "<script>window.mcinterpDraw && window.mcinterpDraw();</script>"


@dataclass
class Session:
    """Whether this kernel has sent the script to its notebook."""

    sent: bool = False


SESSION = Session()


class Script:
    """The script for a notebook: shown by a cell, it draws every component of the page that waits for it."""

    def __repr__(self) -> str:
        return "<the script of circuitsvis>"

    def _repr_html_(self) -> str:
        SESSION.sent = True
        return f"<script>{javascript()}</script>"


def script() -> Script:
    """The script again, for a notebook whose cells say that they lack it: put it in a cell of its own.

    The first component that a kernel shows brings the script (1.3 MB) with it, later ones do not repeat it. After that
    cell was run anew or deleted, a saved notebook opens without the script until this has been run.
    """
    return Script()


def cell(component: Component) -> str:
    """What a notebook's cell shows: the component, and the script unless this kernel sent it before.

    In Colab each cell is a page of its own and gets the script each time.
    """
    first = not SESSION.sent or "google.colab" in sys.modules
    caption = f"<p>{escape(component['caption'])}</p>" if "caption" in component else ""
    return caption + box(component) + (script()._repr_html_() if first else DRAW)
