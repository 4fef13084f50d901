"""Measures, on the planted checkpoints, what the methods outside the benchmark of localisation say and where they fail.

    mcinterp bench localise --half both              (plants and answers, into runs/bench)
    python experiments/measured_on_planted.py runs/bench

Every figure is taken task by task and averaged over the tasks of a kind of plant; `docs/explanation/measured.json`
holds the means, from which the tables of the pages are made, and what each method of the benchmark missed. About half
an hour on one core.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from planted import by_patching, by_reading, by_weights
from planted.tasks import HALF, Figures, Planted, tasks

from mcinterp.benchmark.means import KINDS
from mcinterp.results import load

MEASURED = Path(__file__).parents[1] / "docs" / "explanation" / "measured.json"
TABLES: dict[str, Callable[[Planted], Figures]] = {
    each.__name__: each
    for each in (
        by_reading.divergences, by_reading.temperature, by_reading.readout, by_patching.small_gaps,
        by_patching.controls, by_patching.screen, by_patching.neurons, by_reading.heads, by_patching.direction,
        by_weights.verified, by_reading.attractors, by_weights.update, by_reading.lenses,
    )
}  # fmt: skip


def gathered(found: dict[str, dict[str, list[Figures]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over tasks: table, row, kind; `all` are the tasks of all kinds."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for table, kinds in found.items():
        listed = {**kinds, "all": [each for tasks_of_kind in kinds.values() for each in tasks_of_kind]}
        rows = list(dict.fromkeys(row for each in listed["all"] for row in each))
        tables[table] = {row: means_of(row, listed) for row in rows}
    return tables


def means_of(row: str, listed: dict[str, list[Figures]]) -> dict[str, float]:
    """The mean of one figure over the tasks of every kind that have it."""
    there = {kind: [each[row] for each in listed.get(kind, []) if row in each] for kind in (*KINDS, "all")}
    finite = {kind: [value for value in values if np.isfinite(value)] for kind, values in there.items()}
    return {kind: float(np.mean(values)) for kind, values in finite.items() if values}


def missed(bench: Path) -> dict[str, dict[str, str]]:
    """By method and kind, the true components of the tasks that it did not find."""
    found = load(bench / "benchmark.nc")
    found = found.isel(task=np.flatnonzero((found["half"] == HALF) & (found["kind"] != "negative")))
    table: dict[str, dict[str, list[str]]] = {}
    for name in found["method"].values.tolist():
        lost = found.isel(task=np.flatnonzero(found["top_1"].sel({"method": name}).values == 0))
        for kind, truth in zip(lost["kind"].values.tolist(), lost["truth"].values.tolist(), strict=True):
            table.setdefault(name, {}).setdefault(kind, []).append(truth.replace(",", "+"))
    return {name: {kind: ",".join(sorted(each)) for kind, each in kinds.items()} for name, kinds in table.items()}


def main(bench: Path) -> None:
    """Measure every table on every task and write the means."""
    found: dict[str, dict[str, list[Figures]]] = {name: {} for name in TABLES}
    count: dict[str, int] = {}
    for one in tasks(bench / "plants"):
        count[one.kind] = count.get(one.kind, 0) + 1
        for name, table in TABLES.items():
            found[name].setdefault(one.kind, []).append(table(one))
        print(one.kind, one.task.name, flush=True)
    record = {
        "command": "python experiments/measured_on_planted.py",
        "half": HALF,
        "tasks": count,
        **gathered(found),
        "missed": missed(bench),
    }
    MEASURED.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
