"""The answers on all plants as one dataset, judged against the truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from mcinterp.benchmark.records import Record, fingerprint, opened
from mcinterp.benchmark.scoring import agreement, found_truth
from mcinterp.organisms.plants.record import Plant
from mcinterp.results import with_provenance

FIGURES: dict[str, tuple[str, str]] = {
    "top_1": ("0 or 1", "all k true components score above every other one"),
    "mean_rank": ("rank", "mean rank of the true components, at best (k + 1) / 2 for k of them; ties share their mean"),
    "auroc": ("probability", "that a true component scores above another one; a tie counts half"),
    "share_on_truth": ("share", "positive scores of the true components over all positive scores"),
    "verdict_right": ("0 or 1", "the verdict is the expected one; missing for a method without verdicts"),
    "upstream_right": ("0 or 1", "the same of whether the place is upstream of the answer; where there is one"),
    "seconds": ("s", "processor time of the method on one thread"),
    "failed": ("0 or 1", "the method gave no answer; it is scored as if all components were equal"),
}
WORDS = {"given_verdict": "the method's verdict; empty where it gave none", "failure": "what it said where it failed"}


class Row(NamedTuple):
    """One task of one plant with all that is known of it."""

    plant: dict[str, Any]
    name: str
    task: Record

    @property
    def labels(self) -> dict[str, Any]:
        """Coordinates of the axis `task`."""
        about = {name: self.plant[name] for name in ("kind", "half", "seed")}
        truth = {"truth": ",".join(self.task["truth"]), "expected_verdict": self.task["verdict"]}
        return {
            "task": f"{self.plant['name']}/{self.name}", "plant": self.plant["name"], **about, **truth,
            "upstream": self.task["upstream"],
        }  # fmt: skip


def gathered(plants: Sequence[Plant], root: str | Path, out: str | Path, methods: Sequence[str]) -> xr.Dataset:
    """What methods answered on some plants, judged.

    Over `task, method` (a task is `PLANT/NAME`, with `plant`, `kind`, `half`, `seed`, `truth`, `expected_verdict`
    and `upstream`): the variables of `FIGURES` in float32, missing where they say nothing (a place where nothing is
    planted), and the texts of `WORDS`. A method that failed is scored as if all components were equal.
    """
    records = [opened(out, plant, fingerprint(root, plant)) for plant in plants]
    rows = [Row(record["plant"], name, task) for record in records for name, task in record["tasks"].items()]
    judges = {name for name in methods if any(gives_verdict(row, name) for row in rows)}
    table = [[judged(row.task, name, name in judges) for name in methods] for row in rows]
    return with_provenance(
        labelled(rows, methods, table), analysis="benchmark", methods=list(methods),
        plants={record["plant"]["name"]: record["fingerprint"] for record in records},
    )  # fmt: skip


def gives_verdict(row: Row, method: str) -> bool:
    """Whether a method answered with a verdict."""
    return row.task["answers"][method].get("verdict") is not None


def judged(task: Record, method: str, judges: bool) -> dict[str, Any]:
    """Every figure of one answer, and its words."""
    answer = task["answers"][method]
    failed = "failed" in answer
    scores = [0.0] * len(task["components"]) if failed else answer["scores"]
    found: dict[str, Any] = found_truth(dict(zip(task["components"], scores, strict=True)), task["truth"])
    verdict, upstream = answer.get("verdict"), answer.get("upstream")
    found["verdict_right"] = 0.0 if failed and judges else agreement(verdict, task["verdict"])
    found["upstream_right"] = 0.0 if failed and judges else agreement(upstream, task["upstream"])
    found["upstream_right"] = found["upstream_right"] if task["truth"] else np.nan
    found |= {"seconds": answer["seconds"], "failed": float(failed)}
    return found | {"given_verdict": verdict or "", "failure": answer.get("failed", "")}


def labelled(rows: Sequence[Row], methods: Sequence[str], table: Sequence[Sequence[dict[str, Any]]]) -> xr.Dataset:
    """Figures and words with their labels, units and definitions."""
    labels = [row.labels for row in rows]
    coords: dict[str, Any] = {"task": [each["task"] for each in labels], "method": list(methods)}
    coords |= {name: ("task", [each[name] for each in labels]) for name in labels[0] if name != "task"}
    cells = ("task", "method")
    data = {}
    for name, (unit, definition) in FIGURES.items():
        values = np.asarray([[cell[name] for cell in line] for line in table], dtype=np.float32)
        data[name] = xr.DataArray(values, dims=cells, attrs={"units": unit, "long_name": definition})
    for name, definition in WORDS.items():
        words = np.asarray([[cell[name] for cell in line] for line in table], dtype=object)
        data[name] = xr.DataArray(words.astype(str), dims=cells, attrs={"long_name": definition})
    return xr.Dataset(data, coords=coords)
