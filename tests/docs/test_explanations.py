"""The figures that the explanations quote are those of the files they were measured into; no page can go stale.

A table below `<!-- from FILE WHAT: ROW; ROW -->` is made from that file, and a sentence beside `<!-- holds FILE PATH OP
NUMBER -->` is held to it. `python tests/docs/test_explanations.py` writes the tables anew.
"""

import json
import math
import operator
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs" / "explanation").glob("*.md")), ROOT / "README.md"]
BENCHMARK, MEASURED = "figures/benchmark_localise.json", "docs/explanation/measured.json"
TABLE = re.compile(r"(<!-- from (\S+) (\w+): (.+?) -->\n)((?:\|[^\n]*\n)*)", re.DOTALL)
CLAIM = re.compile(r"<!-- holds (\S+) (.+?) (==|<=|>=|<|>|~) (\S+) -->", re.DOTALL)
OPERATORS = {"==": operator.eq, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
PLACED = ("easy", "hard", "multi", "relay", "upstream", "or", "and", "activation", "lora", "head", "all")
OVERALL = {
    "top_1": "top-1", "mean_rank": "mean rank", "auroc": "AUROC", "share_on_truth": "share on truth",
    "seconds": "seconds", "failed": "failed",
}  # fmt: skip
KINDS = (*PLACED[:-1], "negative")


@cache
def read(file: str) -> dict[str, Any]:
    return json.loads((ROOT / file).read_text(encoding="utf-8"))


def at(file: str, path: str) -> Any:
    found: Any = read(file)
    for key in path.split("/"):
        found = found[key]
    return found


def word(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0e}" if 0 < abs(value) < 0.005 else f"{value:.2f}".replace("-0.00", "0.00")


def with_ends(figure: Mapping[str, float], form: str = "{:.2f}") -> str:
    mean, low, high = (figure[end] for end in ("mean", "low", "high"))
    ends = f" ({form.format(low)} to {form.format(high)})" if low < high else ""
    return form.format(mean) + ends


def rows(file: str, what: str, names: list[str]) -> Iterator[list[str]]:
    if file == BENCHMARK and what != "figures":
        show = with_ends if what.endswith("_with_intervals") else lambda figure: word(figure["mean"])
        what = what.removesuffix("_with_intervals")
        kinds = at(file, "report/kinds")
        yield ["method", *(f"{kind} ({kinds[kind]['tasks'] - 10 * (kind == 'all')})" for kind in PLACED)]
        for name in names:
            yield [name, *(show(kinds[kind]["methods"][name][what]) for kind in PLACED)]
        return
    if file == BENCHMARK and what == "figures":
        yield ["method", *OVERALL.values()]
        for name in names:
            figures = at(file, f"report/kinds/all/methods/{name}")
            yield [name, *(with_ends(figures[each]) for each in OVERALL)]
        return
    table: Mapping[str, Mapping[str, float]] = at(file, what)
    there = [kind for kind in KINDS if any(kind in table[name] for name in names)]
    yield ["measured", *there]
    for name in names:
        yield [name, *(word(table[name].get(kind)) for kind in there)]


def table_of(file: str, what: str, listed: str) -> str:
    names = [re.sub(r"\s+", " ", name.strip()) for name in listed.split(";")]
    lines = [f"| {' | '.join(row)} |" for row in rows(file, what, names)]
    return "\n".join([lines[0], "|---" * (lines[0].count("|") - 1) + "|", *lines[1:]]) + "\n"


def rewritten(text: str) -> str:
    return TABLE.sub(lambda m: m[1] + table_of(m[2], m[3], m[4]), text)


def claims(text: str) -> Iterator[tuple[str, str, str, str]]:
    for file, path, sign, number in CLAIM.findall(text):
        yield file, re.sub(r"\s+", " ", path), sign, number


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_made_from_their_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- from ") == len(TABLE.findall(text))
    heads = re.findall(r"^\| (?:method|measured) \|", text, re.MULTILINE)
    assert len(heads) == len(TABLE.findall(text)) + text.count("**Right verdicts"), "a table without its file"
    assert rewritten(text) == text, "write the tables anew: python tests/docs/test_explanations.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sentences_hold_in_their_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- holds ") == len(CLAIM.findall(text))
    prose = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    for file, path, sign, number in claims(text):
        value = at(file, path)
        if sign == "~":
            digits = len(number.partition(".")[2])
            assert math.isclose(round(value, digits), float(number)), (path, value, number)
            assert number in prose, f"{number} stands nowhere on {page.name}"
        elif isinstance(value, str):
            assert (sign, value) == ("==", number), (path, value, number)
        else:
            assert OPERATORS[sign](value, float(number)), (path, value, sign, number)


def test_a_changed_figure_is_noticed() -> None:
    page = next(page for page in PAGES if "<!-- from " in page.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    first = TABLE.search(text)
    assert first is not None
    digit = re.search(r"\d\.\d\d", first[5])
    assert digit is not None
    changed = text.replace(first[5], first[5].replace(digit[0], "7.77", 1))
    assert changed != text
    assert rewritten(changed) == text


def test_every_method_and_every_measurement_stands_on_a_page() -> None:
    found = {
        (file, what.removesuffix("_with_intervals"), re.sub(r"\s+", " ", name.strip()))
        for page in PAGES
        for _, file, what, listed, _ in TABLE.findall(page.read_text(encoding="utf-8"))
        for name in listed.split(";")
    }
    methods = {(BENCHMARK, "top_1", name) for name in at(BENCHMARK, "report/kinds/all/methods")}
    tables = {
        name: table for name, table in read(MEASURED).items() if name not in ("command", "half", "tasks", "missed")
    }
    measured = {(MEASURED, name, row) for name, table in tables.items() for row in table}
    assert methods | measured <= found, sorted((methods | measured) - found)


def test_the_list_names_every_page() -> None:
    index = (ROOT / "docs" / "explanation" / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([a-z-]+\.md)", index))
    assert linked == {page.name for page in PAGES} - {"index.md", "README.md"}


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
