"""The comparison with other tools says what its data say, and every cell says how it was checked."""

import importlib.util
import re
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KINDS = {"run", "source", "documentation", "not checked"}


def script() -> ModuleType:
    found = importlib.util.spec_from_file_location("comparison", ROOT / "docs/comparison.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


COMPARISON = script()
DATA: dict[str, Any] = COMPARISON.read()
CELLS = [(name, row, cell) for name, peer in DATA["peers"].items() for row, cell in peer["cells"].items()]


def test_the_page_is_what_the_data_make() -> None:
    assert COMPARISON.PAGE.read_text(encoding="utf-8") == COMPARISON.page(DATA)


def test_the_table_of_the_readme_is_what_the_data_make() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, last = (re.escape(marker) for marker in COMPARISON.MARKERS)
    assert re.findall(f"{first}.*?{last}", readme, re.DOTALL) == [COMPARISON.compact(DATA)]


def test_the_small_table_stays_small() -> None:
    rows, peers = (sum(each["readme"] for each in group) for group in (DATA["rows"], DATA["peers"].values()))
    assert 0 < rows <= 12
    assert 0 < peers <= 6


def test_every_tool_has_every_row_and_stands_in_one_table() -> None:
    rows = [row["id"] for row in DATA["rows"]]
    assert len(rows) == len(set(rows))
    assert all(list(peer["cells"]) == rows for peer in DATA["peers"].values())
    assert sorted(name for family in DATA["families"] for name in family["peers"]) == sorted(DATA["peers"])


@pytest.mark.parametrize(("name", "row", "cell"), CELLS, ids=[f"{name}-{row}" for name, row, _ in CELLS])
def test_every_cell_says_how_and_when_it_was_checked(name: str, row: str, cell: dict[str, str]) -> None:
    assert set(cell) == {"value", "kind", "how", "checked"}
    assert cell["value"].strip()
    assert len(cell["how"].split()) > 2
    assert cell["kind"] in KINDS
    assert date.fromisoformat(cell["checked"]) <= date.fromisoformat(DATA["checked"])
    assert (cell["value"] == "not checked") == (cell["kind"] == "not checked")


def test_cells_fit_into_a_table() -> None:
    values = [cell["value"] for _, _, cell in CELLS] + [row["mcinterp"]["value"] for row in DATA["rows"]]
    assert [value for value in values if len(value) > 32 or "|" in value or "\n" in value] == []


@pytest.mark.parametrize("row", DATA["rows"], ids=lambda row: row["id"])
def test_what_shows_a_cell_of_mcinterp_exists(row: dict[str, Any]) -> None:
    assert len(row["mcinterp"]["how"].split()) > 2
    assert row["mcinterp"]["where"]
    for place in row["mcinterp"]["where"]:
        path, _, name = place.partition("::")
        assert (ROOT / path).exists(), place
        assert not name or re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), place


def test_every_cell_of_mcinterp_that_is_not_a_no_has_a_test() -> None:
    shown = {row["id"]: row["mcinterp"] for row in DATA["rows"]}
    bare = {name for name, cell in shown.items() if not any(place.startswith("tests/") for place in cell["where"])}
    assert {name for name in bare if shown[name]["value"] not in ("no", "none")} == set()
