"""The directive `command-line`: every verb and option of `mcinterp`, from the parser that reads them."""

import argparse
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from mcinterp.cli import parser
from mcinterp.cli.options import question_parser

SHARED, LABEL = "Options of every question", "shared-options"


def subparsers(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's verbs by name."""
    listed = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(listed[0].choices) if listed else {}


def leaves(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """All parsers below one that have no verbs of their own."""
    for each in subparsers(of).values():
        yield from leaves(each) if subparsers(each) else [each]


def names_of(action: argparse.Action) -> str:
    """How an option is written, with what it takes."""
    value = action.metavar if isinstance(action.metavar, str) else None
    if value is None and action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return value or action.dest.upper()
    value = "" if action.nargs == 0 else f" {value or action.dest.upper()}"
    return ", ".join(f"{name}{value}" for name in action.option_strings)


def said(of: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An option's help with its values filled in, as reStructuredText."""
    text = of._get_formatter()._expand_help(action) if action.help else ""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("|", "\\|").replace("`", "\\`")


def options(of: argparse.ArgumentParser, program: str, without: set[str]) -> str:
    """The options of a parser but for some, as reStructuredText in a fence of Markdown."""
    lines = [f".. program:: {program}", ""]
    for action in of._actions:
        if action.dest not in without and not isinstance(action, argparse._SubParsersAction):
            lines += [f".. option:: {names_of(action)}", "", f"   {said(of, action)}", ""]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"


def usage(of: argparse.ArgumentParser) -> str:
    """How a verb is called."""
    return f"```text\n{of.format_usage().removeprefix('usage: ')}```\n"


def reference() -> str:
    """The whole command line in Markdown."""
    top, shared = parser(), question_parser()
    common = {action.dest for action in shared._actions}
    pages = [options(top, "mcinterp", set()), f"({LABEL})=\n\n## {SHARED}\n", options(shared, "mcinterp", set())]
    for each in leaves(top):
        asks = common <= {action.dest for action in each._actions}
        pages += [f"## `{each.prog}`\n", usage(each)]
        pages += [f"Takes the {{ref}}`options of every question <{LABEL}>`, and:\n"] if asks else []
        pages.append(options(each, each.prog, common if asks else set()))
    return "\n".join(pages)


class CommandLine(SphinxDirective):
    """The reference of the command line."""

    def run(self) -> list[nodes.Node]:
        """Its sections."""
        return self.parse_text_to_nodes(reference(), allow_section_headings=True)


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
