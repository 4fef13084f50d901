"""The page: which sections it has, and in each what every run that holds it shows, runs side by side."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import vl_convert

from mcinterp.errors import InputError
from mcinterp.results import write_text
from mcinterp.run import REPORT, RUN, SUMMARY, Run
from mcinterp.show import circuits
from mcinterp.show.attribution_figures import DRAWN
from mcinterp.show.figures import visible
from mcinterp.show.report import drawn
from mcinterp.show.report.beside import beside
from mcinterp.show.report.lead import sentences, supporting
from mcinterp.show.report.words import Definitions, captions
from mcinterp.show.theme import DARK


class Section(NamedTuple):
    """A part of the page: its template and anchor, its title, what it needs one of in a summary, and its data.

    Sections without data of their own use what those of the same analysis made.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    data: Callable[[Run, dict[str, Any]], drawn.Made] | None = None


SECTIONS = (
    Section("alignment", "Alignment", ("alignment",)),
    Section("numbers", "Entropy", ("entropy",)),
    Section("attractors", "Attractors", ("attractors",)),
    Section("behaviour", "Behaviour", ("behaviour",), drawn.behaviour_data),
    Section("depth", "Lens", ("onset",), drawn.lens_data),
    Section("attribution", "Attribution", tuple(DRAWN), drawn.attribution_data),
    Section("patch", "Sweeps", ("patch",), drawn.patch_data),
    Section("held", "Held patches", ("held",), drawn.held_data),
    Section("locate", "Location", ("verdict",), drawn.locate_data),
    Section("verification", "Verification", ("verification",)),
    Section("explore", "One prompt", ("onset",)),
    Section("prompts", "All prompts", ("prompts",)),
    Section("run", "Run again", ("stages",)),
)


class Shown(NamedTuple):
    """A run on the page: the mark before the names of its charts, what it is called, its files, and what is drawn."""

    key: str
    name: str
    summary: dict[str, Any]
    record: dict[str, Any]
    sections: tuple[str, ...]
    charts: dict[str, Any]
    drawn: dict[str, Any]
    context: dict[str, Any]


def write_report(runs: Run | Sequence[Run], out: str | Path | None = None) -> Path:
    """Write the report of one run, or of several side by side, from their files; what was not made is left out.

    It is written to `out`, or as `report.html` into the first run's directory. Every section shows each run that holds
    it, so that runs of different analyses on the same checkpoints tell one story, and runs of the same analyses stand
    beside each other.

    Raises:
        InputError: for no run, or a run that did not finish.
    """
    given = [runs] if isinstance(runs, Run) else list(runs)
    if not given:
        raise InputError("got no run; give at least one run directory.")
    shown = [show(run, number) for number, run in enumerate(given)]
    return write_text(Path(out).expanduser() if out is not None else given[0].path / REPORT, page(shown))


def show(run: Run, number: int) -> Shown:
    """What a run brings to the page."""
    if not (run.path / SUMMARY).is_file():
        raise InputError(f"run {str(run.path)!r} holds no {SUMMARY}; give one that finished.")
    summary, key = run.read(SUMMARY), "" if number == 0 else f"{number + 1}/"
    sections = [section for section in SECTIONS if any(summary.get(name) for name in section.needs)]
    made = {section.name: section.data(run, summary) for section in sections if section.data is not None}
    charts = {name: chart for one in made.values() for name, chart in one.charts.items()}
    data = {name: value for one in made.values() for name, value in one.drawn.items()}
    context = {name: value for one in made.values() for name, value in one.context.items()}
    names = tuple(section.name for section in sections)
    return Shown(key, run.path.resolve().name, summary, run.read(RUN), names, charts, data, context)


def page(shown: Sequence[Shown]) -> str:
    """The whole document."""
    charts = {f"{one.key}{name}": chart for one in shown for name, chart in one.charts.items()}
    compared = beside([(one.name, one.summary, one.record) for one in shown]) if len(shown) > 1 else None
    if compared is not None:
        charts |= compared.charts
    data = {"charts": charts, "inks": DARK, "runs": {one.key: one.drawn for one in shown}}
    definitions = Definitions()
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            shown=shown,
            title=" | ".join(dict.fromkeys(" → ".join(one.summary["stages"]) for one in shown)),
            leads={one.key: sentences(one.summary) for one in shown},
            supporting={one.key: supporting(one.charts) for one in shown},
            sections=[(section, [one for one in shown if section.name in one.sections]) for section in SECTIONS
                      if any(section.name in one.sections for one in shown)],
            compared=compared,
            captions=captions(charts),
            definitions=definitions,
            records={one.key: json.dumps({k: v for k, v in one.record.items() if k != "alignment"}, indent=2)
                     for one in shown},
            scripts=[circuits.javascript(), vega_javascript()],
            data=circuits.embedded(data),
        )
    )  # fmt: skip


@cache
def vega_javascript() -> str:
    """Vega, Vega-Lite and vega-embed as a classic script that sets `vegaEmbed`."""
    return f"(() => {{{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}}})();".replace(
        "</script", "<\\/script"
    )


def environment() -> jinja2.Environment:
    """Templates of the package, escaping whatever is put into them."""
    loader = jinja2.PackageLoader("mcinterp.show.report", "templates")
    jinja = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    jinja.filters["visible"] = visible
    return jinja
