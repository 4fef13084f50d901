"""Running is resumable, adds what is new, records failures, and is the same in worker processes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from standins import PROMPTS, stand_in

from mcinterp.benchmark.case import METHODS, Answer, Case, method
from mcinterp.benchmark.running import run_benchmark
from mcinterp.errors import InputError
from mcinterp.organisms.plants.record import Plant
from mcinterp.results import load

CHEAP = ["delta norm", "delta top singular value"]
asked: list[str] = []


@pytest.fixture
def methods() -> Iterator[None]:
    """Methods of the tests' own, gone afterwards; every question is noted in `asked`."""
    before = dict(METHODS)
    asked.clear()

    @method("counted")
    def counted(case: Case) -> Answer:
        asked.append("counted")
        return Answer(case.scores({"3.mlp": 1.0, "5.mlp": 0.5}), "localised", upstream=True)

    @method("later")
    def later(case: Case) -> Answer:
        asked.append("later")
        return Answer(case.scores({"5.mlp": 1.0, "3.mlp": 0.5}), "none", upstream=False)

    @method("refusing")
    def refusing(case: Case) -> Answer:
        raise InputError("it says nothing here.")

    @method("silent")
    def silent(case: Case) -> Answer:
        return Answer({"3.mlp": 1.0})

    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plants")


@pytest.fixture(scope="module")
def plants(root: Path) -> list[Plant]:
    """One with a pushed MLP, one in which nothing happened."""
    return [stand_in(root, "pushed", "3.mlp"), stand_in(root, "same", None, kind="negative", seed=1)]


def ran(plants: list[Plant], root: Path, out: Path, *names: str, **options):
    options = {"processes": 1, "say": lambda line: None, **options}
    return run_benchmark(plants, root, out, methods=list(names), **options)


def test_nothing_is_asked_twice_and_a_new_method_adds_itself(
    methods: None, plants: list[Plant], root: Path, tmp_path: Path
) -> None:
    ran(plants[:1], root, tmp_path, "counted")
    assert asked == ["counted"]
    first = json.loads((tmp_path / "answers/pushed.json").read_text())
    ran(plants[:1], root, tmp_path, "counted")
    assert asked == ["counted"]
    found = ran(plants[:1], root, tmp_path, "counted", "later")
    assert asked == ["counted", "later"]
    second = json.loads((tmp_path / "answers/pushed.json").read_text())
    assert second["tasks"]["numbers"]["answers"]["counted"] == first["tasks"]["numbers"]["answers"]["counted"]
    assert found["top_1"].sel(task="pushed/numbers").values.tolist() == [1.0, 0.0]
    ran(plants[:1], root, tmp_path, "later", again=["counted"])
    assert asked == ["counted", "later", "counted"]


def test_other_prompts_or_another_truth_are_asked_anew(methods: None, root: Path, tmp_path: Path) -> None:
    plant = stand_in(root, "changing", "3.mlp")
    ran([plant], root, tmp_path, "counted")
    other = replace(plant, tasks=(replace(plant.tasks[0], truth=("5.mlp",)),))
    assert ran([other], root, tmp_path, "counted")["top_1"].item() == 0.0
    file = plant.prompt_file(root, plant.tasks[0])
    file.write_text(json.dumps({"text": PROMPTS[0]}) + "\n")
    ran([other], root, tmp_path, "counted")
    ran([other], root, tmp_path, "counted")
    assert asked == ["counted"] * 3


def test_a_failing_method_is_recorded_and_counts_as_no_answer(
    methods: None, plants: list[Plant], root: Path, tmp_path: Path
) -> None:
    found = ran(plants, root, tmp_path, "counted", "refusing", "silent").sel(task="pushed/numbers")
    assert found["failed"].values.tolist() == [0.0, 1.0, 1.0]
    said = ["", "it says nothing here", "silent gave no finite score for 'embed'; score every component and no other"]
    assert found["failure"].values.tolist() == said
    assert found["top_1"].values.tolist() == [1.0, 0.0, 0.0]
    assert found["mean_rank"].values.tolist() == [1.0, 8.0, 8.0]
    assert found["auroc"].values.tolist() == [1.0, 0.5, 0.5]


def test_verdicts_are_judged_and_a_place_where_nothing_is_planted_is_not(
    methods: None, plants: list[Plant], root: Path, tmp_path: Path
) -> None:
    found = ran(plants, root, tmp_path, "delta norm", "counted", "later")
    assert found["verdict_right"].transpose("method", "task").values.tolist()[1:] == [[1.0, 0.0], [0.0, 1.0]]
    assert found["given_verdict"].transpose("method", "task").values.tolist()[0] == ["", ""]
    assert np.isnan(found["verdict_right"].sel({"method": "delta norm"})).all()
    upstream = found["upstream_right"].transpose("method", "task").values
    np.testing.assert_array_equal(upstream, [[np.nan, np.nan], [0.0, np.nan], [1.0, np.nan]])
    for name in ("top_1", "mean_rank", "auroc", "share_on_truth"):
        assert found[name].sel(task="same/numbers").isnull().all()
        assert found[name].dtype == np.float32
    assert load(tmp_path / "benchmark.nc").identical(found)
    assert found["truth"].values.tolist() == ["3.mlp", ""]


@pytest.mark.slow
def test_worker_processes_answer_the_same(plants: list[Plant], root: Path, tmp_path: Path) -> None:
    here, there = (ran(plants[:1], root, tmp_path / str(n), *CHEAP, processes=n) for n in (1, 2))
    for name in ("top_1", "auroc", "share_on_truth"):
        np.testing.assert_array_equal(here[name], there[name])
    assert there["top_1"].values.tolist() == [[1.0, 1.0]]


def test_plants_that_show_nothing_are_left_out(methods: None, plants: list[Plant], root: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    failed = replace(plants[0], collapsed=False, note="its probability stayed at 0.2")
    found = ran([failed, plants[1]], root, tmp_path, "counted", say=lines.append)
    assert found["plant"].values.tolist() == ["same"]
    assert lines[0] == "pushed: left out, its probability stayed at 0.2"
    with pytest.raises(InputError, match="got 0 plants and 1 processes; give at least one of each"):
        ran([failed], root, tmp_path, "counted")
    with pytest.raises(InputError, match="got 'other' for a method"):
        ran(plants, root, tmp_path, "counted", again=["other"])
