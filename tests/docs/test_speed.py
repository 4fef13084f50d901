"""The speeds that the README and the page on speed quote are those of the raw figures beside them."""

import json
import re
from statistics import median
from typing import Any

import pytest
from pages import ROOT

WORKLOADS = {"sites": "last", "heads": "heads", "positions": "positions"}
SIZES = {"512 / 12": "d512", "768 / 16": "d768", "1024 / 24": "d1024"}
CONTENDERS = ("mcinterp", "mcinterp_both", "tl_generic", "nnsight", "nnsight_batched", "pyvene")


def read(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "figures" / f"{name}.json").read_text(encoding="utf-8"))


def ratios(size: str, workload: str) -> dict[str, float]:
    """Times faster than the faster TransformerLens loop, of medians over rounds."""
    rows = read("bench_patching")["rows"]
    (row,) = [each for each in rows if (each["size"], each["workload"]) == (size, workload)]
    seconds = {name: median(values) for name, values in row["seconds"].items()}
    return {name: seconds[row["reference"]] / value for name, value in seconds.items()}


def cells(line: str) -> list[str]:
    return [cell.strip().replace("*", "") for cell in line.strip().strip("|").split("|")]


def table(page: str, heading: str) -> list[list[str]]:
    """Rows below the table whose first cell is a heading."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(cells(line))
    return rows


def test_the_page_quotes_the_raw_figures() -> None:
    rows = table("docs/explanation/speed.md", "sweep")
    assert len(rows) == 8
    for sweep, size, *values in rows:
        found = ratios(SIZES[size], WORKLOADS[sweep])
        assert [float(value) for value in values[:6]] == [round(found[name], 1) for name in CONTENDERS], (sweep, size)


def test_the_readme_quotes_the_raw_figures() -> None:
    shown = table("README.md", "sweep of patches")
    asked = [("d1024", "last"), ("d1024", "heads"), ("d768", "positions")]
    for (size, workload), (_, _, own, batched, pyvene) in zip(asked, shown, strict=False):
        found = ratios(size, workload)
        first, both = (float(number) for number in re.findall(r"\d+(?:\.\d+)?", own)[:2])
        assert abs(first - found["mcinterp"]) <= 0.5
        assert abs(both - found["mcinterp_both"]) <= 0.5
        assert (float(batched), float(pyvene)) == (round(found["nnsight_batched"], 1), round(found["pyvene"], 1))


@pytest.mark.parametrize(("name", "row"), [("bench_sweep_8b", 0), ("bench_sweep_8b_float32", 1)])
def test_both_quote_what_was_measured_on_a_gpu(name: str, row: int) -> None:
    record = read(name)
    times = record["transformerlens_seconds"] / record["seconds"]
    page = table("docs/explanation/speed.md", "8B pair")[row]
    assert float(page[1].split()[0]) == pytest.approx(record["seconds"], abs=0.01)
    assert float(page[2].split()[0]) == pytest.approx(record["transformerlens_seconds"], abs=0.05)
    assert int(page[4].replace(",", "")) == round(record["runs_per_second"])
    readme = table("README.md", "sweep of patches")[3 + row]
    assert all(abs(float(quoted) - times) <= 0.5 for quoted in (page[3], readme[2]))
