"""The benchmark's figures as Markdown tables; nothing here needs a model."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from mcinterp.benchmark.means import ALL, HALVES, at, by_kind, confusion, judges, of_half, plain
from mcinterp.results import write_json, write_text

OVERALL = {
    "top_1": "top-1",
    "mean_rank": "mean rank",
    "auroc": "AUROC",
    "share_on_truth": "share on truth",
    "seconds": "seconds",
    "failed": "failed",
}
DASH = "–"
Rows = list[list[str]]


def markdown(found: xr.Dataset, half: str, *, intervals: bool = True) -> str:
    """All tables of one half under its heading."""
    means = by_kind(found, half)
    count = means.sel(kind=ALL)
    ends = " (95 % interval by bootstrap over plants, where these do not all agree)" if intervals else ""
    lines = [
        f"## Localisation, {half} half ({int(count['plants'])} plants, {int(count['tasks'])} tasks)",
        "",
        f"Means over tasks{ends}.",
        "A truth of k components is found where they are the k best without a tie; its best mean rank is (k + 1) / 2.",
        "Methods that tell no heads apart always tie on the kind `head`.",
    ]
    tables = {
        "Top-1 by kind (tasks)": top_1_table(means, intervals),
        "All kinds": overall_table(means, intervals),
        "Right verdicts by kind (tasks)": verdict_table(means, intervals),
        **{f"Verdicts of {name}": confusion_table(found, half, name) for name in judges(means)},
        "Failures": failure_table(found, half),
    }
    for title, rows in tables.items():
        lines += ["", f"### {title}", "", *table_lines(rows)] if len(rows) > 1 else []
    return "\n".join(lines) + "\n"


def table_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of words as lines of a Markdown table, the first row its head."""
    for number, row in enumerate(rows):
        yield "| " + " | ".join(word.replace("|", "\\|") for word in row) + " |"
        if number == 0:
            yield "|---|" + "---|" * (len(row) - 1)


def top_1_table(means: xr.Dataset, intervals: bool) -> Rows:
    """Method by kind; kinds without a true place are left out."""
    told = means.isel(kind=np.flatnonzero(means["top_1"].notnull().any("method").values))
    methods = told["method"].values.tolist()
    return kinds_table(told, "top_1", methods, intervals, counted="placed") if told.sizes["kind"] else []


def verdict_table(means: xr.Dataset, intervals: bool) -> Rows:
    """Share of right verdicts by kind for the methods that give one, and of right answers about `upstream`."""
    rows = kinds_table(means, "verdict_right", judges(means), intervals)
    last = ["upstream right", *(cell(at(means, ALL, name), "upstream_right", intervals) for name in judges(means))]
    return [[*row, word] for row, word in zip(rows, last, strict=True)]


def kinds_table(
    means: xr.Dataset, figure: str, methods: Sequence[str], intervals: bool, counted: str = "tasks"
) -> Rows:
    """One figure, method by kind; `counted` is the number that stands beside a kind."""
    kinds = means["kind"].values.tolist()
    head = ["method", *(f"{kind} ({int(means[counted].sel(kind=kind))})" for kind in kinds)]
    return [head, *([name, *(cell(at(means, kind, name), figure, intervals) for kind in kinds)] for name in methods)]


def overall_table(means: xr.Dataset, intervals: bool) -> Rows:
    """All figures of every method, of all kinds together."""
    methods = means["method"].values.tolist()
    rows = [[name, *(cell(at(means, ALL, name), figure, intervals) for figure in OVERALL)] for name in methods]
    return [["method", *OVERALL.values()], *rows]


def confusion_table(found: xr.Dataset, half: str, method: str) -> Rows:
    """How often each expected verdict (rows) was answered by each one (columns)."""
    counts = confusion(found, half, method)
    given = list(dict.fromkeys(name for row in counts.values() for name in row))
    rows = [[expected, *(str(row.get(name, 0)) for name in given)] for expected, row in counts.items()]
    return [["expected", *given], *rows]


def failure_table(found: xr.Dataset, half: str) -> Rows:
    """What methods said where they failed, and on how many tasks."""
    mine = of_half(found, half)["failure"].transpose("method", "task")
    rows: Rows = [["method", "tasks", "the first of them"]]
    for name, said in zip(mine["method"].values.tolist(), mine.values.tolist(), strict=True):
        sentences = [sentence for sentence in said if sentence]
        rows += [[name, str(len(sentences)), sentences[0]]] if sentences else []
    return rows


def cell(one: xr.Dataset, figure: str, intervals: bool) -> str:
    """A mean with its interval, where that has any width; a dash where it is missing."""
    mean, low, high = (float(one[f"{figure}{end}"]) for end in ("", "_low", "_high"))
    if np.isnan(mean):
        return DASH
    ends = f" ({low:.2f} to {high:.2f})" if intervals and low < high else ""
    return f"{mean:.2f}{ends}"


def halves_of(found: xr.Dataset) -> list[str]:
    """The halves that a dataset has tasks of, the one that methods were made on first."""
    there = set(found["half"].values.tolist())
    return [half for half in HALVES if half in there] + sorted(there - set(HALVES))


def write_tables(found: xr.Dataset, out: str | Path) -> list[Path]:
    """Write `benchmark.md` (all tables) and `benchmark.json` (the same numbers) of every half."""
    halves = halves_of(found)
    text = "\n".join(["# Benchmark", *(markdown(found, half) for half in halves)])
    numbers = {half: plain(found, half) for half in halves}
    return [write_text(Path(out) / "benchmark.md", text), write_json(Path(out) / "benchmark.json", numbers)]
