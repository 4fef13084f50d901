"""The report of a run: one HTML file that opens from disk without a network, the scripts in it once."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import vl_convert

from mcinterp.results import write_text
from mcinterp.run import REPORT, RUN, SUMMARY, Run
from mcinterp.show import circuits
from mcinterp.show.attribution_figures import DRAWN
from mcinterp.show.figures import visible
from mcinterp.show.headline import lead
from mcinterp.show.report_data import (
    Made,
    attribution_data,
    behaviour_data,
    held_data,
    lens_data,
    locate_data,
    patch_data,
)
from mcinterp.variables import VARIABLES


class Section(NamedTuple):
    """A part of the page: its template and anchor, its title, what it needs one of in the summary, and its data."""

    name: str
    title: str
    needs: tuple[str, ...]
    data: Callable[[Run, dict[str, Any]], Made] | None = None


SECTIONS = (
    Section("locate", "Where", ("verdict",), locate_data),
    Section("behaviour", "Behaviour", ("behaviour",), behaviour_data),
    Section("numbers", "Numbers", ("entropy",)),
    Section("depth", "By depth", ("onset",), lens_data),
    Section("attractors", "Attractors", ("attractors",)),
    Section("patch", "Patching", ("patch",), patch_data),
    Section("held", "Held patches", ("held",), held_data),
    Section("attribution", "Attribution", tuple(DRAWN), attribution_data),
    Section("explore", "One prompt", ("onset",)),
    Section("prompts", "All prompts", ("entropy",)),
    Section("alignment", "Alignment", ("alignment",)),
    Section("run", "Run", ("stages",)),
)


def write_report(run: Run) -> Path:
    """Write `report.html` from the files of a run; analyses that were not made are left out."""
    summary, record = run.read(SUMMARY), run.read(RUN)
    context: dict[str, Any] = {}
    drawn: dict[str, Any] = {"charts": {}}
    sections = [section for section in SECTIONS if any(summary.get(name) for name in section.needs)]
    for section in sections:
        if section.data is not None:
            made = section.data(run, summary)
            drawn["charts"] |= made.charts
            drawn |= made.drawn
            context |= made.context
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            **context,
            summary=summary,
            record=record,
            lead=lead(summary),
            sections=sections,
            scripts=[circuits.javascript(), vega_javascript()],
            data=embedded(drawn),
            definitions={name: f"{v.definition} [{v.unit}]" for name, v in VARIABLES.items()},
            run_json=json.dumps({key: value for key, value in record.items() if key != "alignment"}, indent=2),
        )
    )
    return write_text(run.path / REPORT, page)


def embedded(data: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def vega_javascript() -> str:
    """Vega, Vega-Lite and vega-embed as a classic script that sets `vegaEmbed`."""
    return f"(() => {{{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}}})();".replace(
        "</script", "<\\/script"
    )


def environment() -> jinja2.Environment:
    """Templates of the package, escaping whatever is put into them."""
    loader = jinja2.PackageLoader("mcinterp.show", "templates")
    jinja = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    jinja.filters["visible"] = visible
    return jinja
