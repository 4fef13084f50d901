"""A component as data, its JavaScript, and the ways a token and a number are put into it."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import circuitsvis
import numpy as np
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import without_nan
from mcinterp.show.figures import visible

HERE = Path(__file__).parent
JOINER = "\u2060"
SCRIPT_MISSING = (
    "The script that draws this is not on the page. In a notebook, run mcinterp.show.circuits.script() in a cell "
    "(and trust the notebook); then save it again."
)


class Component(dict[str, Any]):
    """A picture of circuitsvis as plain data: `component`, its name; `props`, its properties; `caption`, if any.

    `CircuitsVis.render(id, CircuitsVis[component], props)` draws it where `javascript()` has run. As the last value of
    a notebook's cell it shows itself.
    """

    def __init__(self, component: str, props: dict[str, Any], caption: str = "") -> None:
        super().__init__(component=component, props=props, **({"caption": caption} if caption else {}))

    def __repr__(self) -> str:
        return f"<circuitsvis {self['component']}>"

    def _repr_html_(self) -> str:
        from mcinterp.show.circuits.notebook import cell

        return cell(self)


@cache
def javascript() -> str:
    """The CircuitsVis bundle and the components made of its own, safe inside one script element."""
    bundle = Path(circuitsvis.__file__).parent / "dist" / "cdn" / "iife.js"
    source = bundle.read_text(encoding="utf-8").partition("\n//# sourceMappingURL")[0]
    added = (HERE / "components.js").read_text(encoding="utf-8")
    return f"{source}\n{added}".replace("</script", "<\\/script")


def embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def box(component: Component) -> str:
    """The HTML of a component: a closed div with its data, and what it says until a script has drawn it."""
    data = embedded({"component": component["component"], "props": component["props"]})
    return f'<div class="mcinterp-circuit"><p>{SCRIPT_MISSING}</p><script type="application/json">{data}</script></div>'


def shown(token: str) -> str:
    """A token that reads the same where a component sets it as HTML and where it sets it as text.

    An invisible word joiner after `<` and `&` keeps a browser from taking them for a tag or an entity. A line break
    keeps breaking the line, with its mark before it; an empty token is ∅.
    """
    marked = token.replace("<", f"<{JOINER}").replace("&", f"&{JOINER}")
    return marked.replace("\r", "␍").replace("\n", "↵\n").replace("\t", "⇥") or "∅"


def named(token: str) -> str:
    """A token for an axis or a table, where spaces would be lost: marked by `visible`, on one line."""
    return shown(visible(token.replace("\r", "␍")))


def rounded(values: Any, decimals: int = 3) -> Any:
    """Few decimals, nested lists, missing values and infinities as None: pictures need no more, pages stay small."""
    array = np.round(np.asarray(values, dtype=float), decimals) + 0.0  # no negative zero
    return without_nan(array)


def same_length(tokens: Sequence[Any], values: Sequence[Any] | np.ndarray, what: str = "values") -> None:
    """Refuse values that are not one a token."""
    if len(tokens) != len(values):
        raise InputError(f"got {len(tokens)} tokens and {len(values)} {what}; one a token is wanted.")


def chosen(dataset: xr.Dataset, wanted: Iterable[str] = (), **labels: Any) -> xr.Dataset:
    """The part of a dataset at labels, refusing a variable or label that it does not have with one sentence."""
    for name in [*wanted, *labels]:
        if name not in dataset.variables:
            raise InputError(f"the dataset has no {name!r}; it has {sorted(map(str, dataset.variables))}.")
    for name, label in labels.items():
        if label not in dataset[name].values.tolist():
            raise InputError(f"there is no {name} {label!r}; the dataset has {dataset[name].values.tolist()}.")
    return dataset.sel(labels)
