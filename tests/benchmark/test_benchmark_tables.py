"""Tables say what means, intervals and counts worked out by hand say."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mcinterp.benchmark.gathering import FIGURES
from mcinterp.benchmark.means import by_kind, confusion
from mcinterp.benchmark.table import markdown, write_tables
from mcinterp.errors import InputError
from mcinterp.show.benchmark_figures import localisation, short, write_localisation

TASKS = {
    "a/one": ("a", "hard", "development", "localised"), "a/two": ("a", "hard", "development", "localised"),
    "b/one": ("b", "hard", "development", "localised"), "c/one": ("c", "easy", "development", "joint"),
    "n/one": ("n", "negative", "development", "none"), "r/one": ("r", "easy", "report", "localised"),
}  # fmt: skip
METHODS = ["first", "second"]
NONE = np.nan
TOP_1 = [[1, 0], [0, 1], [1, 1], [1, 0], [NONE, NONE], [0, 1]]
VERDICTS = ["localised", "distributed", "localised", "localised", "none", "joint"]


@pytest.fixture
def found() -> xr.Dataset:
    """Answers of two methods on six tasks; the second gives verdicts, and failed on the task `a/two`."""
    cells, right = ("task", "method"), [[NONE, v] for v in (1, 0, 1, 0, 1, 0)]
    data = {name: (cells, np.zeros((6, 2), dtype=np.float32)) for name in FIGURES}
    data |= {name: (cells, np.asarray(values, np.float32)) for name, values in (("top_1", TOP_1), ("auroc", TOP_1))}
    data["verdict_right"] = (cells, np.asarray(right, np.float32))
    data["given_verdict"] = (cells, np.asarray([["", verdict] for verdict in VERDICTS]))
    failures = np.full((6, 2), "", dtype=object)
    failures[1, 1] = "no | answer"
    data["failure"] = (cells, failures.astype(str))
    names = ("plant", "kind", "half", "expected_verdict")
    labels = {name: ("task", [about[place] for about in TASKS.values()]) for place, name in enumerate(names)}
    return xr.Dataset(data, coords={"task": list(TASKS), "method": METHODS, **labels})


def test_means_are_over_tasks_and_intervals_over_plants(found: xr.Dataset) -> None:
    means = by_kind(found, "development")
    assert means["kind"].values.tolist() == ["easy", "hard", "negative", "all"]
    assert means["tasks"].values.tolist() == [1, 3, 1, 5]
    assert means["plants"].values.tolist() == [1, 2, 1, 4]
    assert means["placed"].values.tolist() == [1, 3, 0, 4]
    expected = [[1, 0], [2 / 3, 2 / 3], [NONE, NONE], [0.75, 0.5]]
    np.testing.assert_allclose(means["top_1"], expected, rtol=1e-6)
    # Two plants are drawn out of a (mean 1/2 of two tasks) and b (1): the ends are a alone and b alone.
    np.testing.assert_allclose(means["top_1_low"].sel(kind="hard"), [0.5, 0.5])
    np.testing.assert_allclose(means["top_1_high"].sel(kind="hard"), [1.0, 1.0])
    assert means["top_1_low"].sel(kind="easy").isnull().all()


def test_tables_hold_these_numbers(found: xr.Dataset) -> None:
    text = markdown(found, "development")
    assert "## Localisation, development half (4 plants, 5 tasks)" in text
    assert "| method | easy (1) | hard (3) | all (4) |" in text
    rows = [line for line in text.splitlines() if line.startswith("| first | ")]
    assert rows[0].startswith("| first | 1.00 | 0.67 (0.50 to 1.00) | 0.75 (")
    verdicts = text.split("### Right verdicts by kind (tasks)")[1]
    assert "| method | easy (1) | hard (3) | negative (1) | all (5) | upstream right |" in verdicts
    assert "| second | 0.00 | 0.67 (0.50 to 1.00) | 1.00 | 0.60 (" in verdicts
    assert "| expected | localised | distributed | none |" in verdicts
    assert "| localised | 2 | 1 | 0 |\n| joint | 1 | 0 | 0 |\n| none | 0 | 0 | 1 |" in verdicts
    assert "| second | 1 | no \\| answer |" in text.split("### Failures")[1]
    assert "| first | 1.00 | 0.67 | 0.75 |" in markdown(found, "development", intervals=False)


def test_every_half_is_written_with_the_same_numbers(found: xr.Dataset, tmp_path: Path) -> None:
    text, numbers = (file.read_text() for file in write_tables(found, tmp_path))
    assert text.index("development half") < text.index("report half")
    plain = json.loads(numbers)
    assert list(plain) == ["development", "report"]
    hard = plain["development"]["kinds"]["hard"]
    assert (hard["tasks"], hard["plants"]) == (3, 2)
    assert hard["methods"]["first"]["top_1"] == pytest.approx({"mean": 2 / 3, "low": 0.5, "high": 1.0})
    assert plain["development"]["kinds"]["negative"]["methods"]["first"]["top_1"]["mean"] is None
    assert plain["development"]["verdicts"] == {"second": confusion(found, "development", "second")}


def test_a_half_without_tasks_is_refused(found: xr.Dataset) -> None:
    with pytest.raises(InputError, match="no task of the half 'other' was run; give one of development, report"):
        by_kind(found, "other")


def test_the_picture_shows_kinds_with_a_true_place(found: xr.Dataset, tmp_path: Path) -> None:
    means = by_kind(found, "development")
    drawn = localisation(means, "title").to_dict()
    cells = next(iter(drawn["datasets"].values()))
    assert {(row["kind"], row["method"]): row["said"] for row in cells} == {
        ("easy", "first"): "1", ("easy", "second"): "0", ("hard", "first"): ".67", ("hard", "second"): ".67",
        ("all", "first"): ".75", ("all", "second"): ".50",
    }  # fmt: skip
    assert [file.stat().st_size > 1000 for file in write_localisation(means, tmp_path, "development")] == [True, True]
    negative = by_kind(found.isel(task=[4]), "development")
    assert write_localisation(negative, tmp_path, "development") == []


def test_shares_are_written_short() -> None:
    assert [short(share) for share in (0.0, 0.004, 0.86, 0.5, 0.999, 1.0)] == ["0", "0", ".86", ".50", "1", "1"]
