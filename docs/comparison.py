"""Makes `comparison.md`, and the small table of the README, from `comparison.json`.

    python docs/comparison.py          # writes docs/comparison.md
    python docs/comparison.py readme   # prints the README's table, with its markers

The cells of others were checked by hand: to correct one, change its value, how it was checked and when in the JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE / "comparison.md"
MARKERS = ("<!-- comparison -->", "<!-- /comparison -->")
Data = dict[str, Any]

HEAD = """# mcinterp beside other tools

What each tool offers somebody who compares a base checkpoint with a tuned one, row by row, also where mcinterp has
less. A short cell is no judgement: most of these tools were made for something else, and do that well.

- A cell says what was **run**, read in the **source**, or read in the **documentation**; the last section says how.
- *no*: the whole installed source was searched, or the file that would hold it was read, or all names of a small
  package were gone through; the cell says which. *none found*: the README or a partial reading names none, and code
  that was not read may have it. *not checked*: nothing was looked at.
- A file of a stored repository is the version whose commit is given; its listings hold the files of all stored commits.
- Versions are those of the last section. Tools move on: cells were last checked on {checked}.
- `docs/comparison.json` holds all cells, and `python docs/comparison.py` makes this page from it.

## Where others do more
"""


def read() -> Data:
    """The checked cells."""
    return json.loads((HERE / "comparison.json").read_text(encoding="utf-8"))


def page(data: Data) -> str:
    """The whole page."""
    parts = [HEAD.format(checked=data["checked"]), *(f"- {line}" for line in data["better"])]
    for family in data["families"]:
        parts += ["", f"## {family['name']}", "", *family_table(data, family["peers"])]
    parts += ["", "## How each cell was checked", "", *own(data)]
    for name in (name for family in data["families"] for name in family["peers"]):
        parts += checked(data, data["peers"][name])
    return "\n".join(parts) + "\n"


def family_table(data: Data, names: list[str]) -> list[str]:
    """All rows of some tools, group by group, with mcinterp in front."""
    lines = heading(data, names)
    for number, group in enumerate(data["groups"]):
        lines.append(f"| **{group}** |" + " |" * (len(names) + 1))
        lines += [line(data, row, names) for row in data["rows"] if row["group"] == number]
    return lines


def heading(data: Data, names: list[str]) -> list[str]:
    """The first two lines of a table."""
    titles = ["", "mcinterp", *(data["peers"][name]["name"] for name in names)]
    return ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]


def line(data: Data, row: Data, names: list[str]) -> str:
    """One row of a table."""
    values = [data["peers"][name]["cells"][row["id"]]["value"] for name in names]
    return "| " + " | ".join([row["text"], row["mcinterp"]["value"], *values]) + " |"


def own(data: Data) -> list[str]:
    """What shows each cell of mcinterp."""
    cells = [(row["text"], row["mcinterp"]) for row in data["rows"]]
    listed = [f"- {text}: **{cell['value']}**. {cell['how']} {places(cell['where'])}" for text, cell in cells]
    return ["### mcinterp", "", *folded("What shows each cell", listed)]


def places(where: list[str]) -> str:
    """Files and tests as code."""
    return ", ".join(f"`{place}`" for place in where)


def checked(data: Data, peer: Data) -> list[str]:
    """How each cell of one tool was checked."""
    listed = [cell_line(row["text"], peer["cells"][row["id"]]) for row in data["rows"]]
    said = f"{peer['what'][0].upper()}{peer['what'][1:]}. Version: {peer['version']}; {peer['obtained']}."
    title = f"{len(listed)} cells, last checked {span(peer)}"
    return ["", f"### {peer['name']}", "", f"{said} <{peer['source']}>", "", *folded(title, listed)]


def cell_line(text: str, cell: Data) -> str:
    """One cell with what was done to know it."""
    return f"- {text}: **{cell['value']}** ({cell['kind']}, {cell['checked']}). {cell['how']}"


def span(peer: Data) -> str:
    """The first and last day on which cells were checked."""
    days = sorted({cell["checked"] for cell in peer["cells"].values()})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def folded(title: str, lines: list[str]) -> list[str]:
    """Lines that a reader opens."""
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>"]


def compact(data: Data) -> str:
    """The README's table between its markers."""
    names = [name for name, peer in data["peers"].items() if peer["readme"]]
    rows = [line(data, row, names) for row in data["rows"] if row["readme"]]
    return "\n".join([MARKERS[0], *heading(data, names), *rows, MARKERS[1]])


if __name__ == "__main__":
    if sys.argv[1:] == ["readme"]:
        print(compact(read()))
    else:
        PAGE.write_text(page(read()), encoding="utf-8")
