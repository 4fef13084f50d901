"""`mcinterp behave` end to end: every experiment in its file, its summary and its picture, and bad requests."""

import json
from pathlib import Path

import pytest

from conftest import Build
from mcinterp.cli import main
from mcinterp.errors import InputError
from mcinterp.jobs.behaving import EXPERIMENTS, BehaveQuestion, battery_of, behave, joined
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.show.behaviour.gallery import PICTURES
from mcinterp.summary import behaviour as summaries

FEW = 24


def some(battery: Prompts, count: int = FEW) -> Prompts:
    """Prompts spread over a battery, so that many templates are among them."""
    return battery.select(range(0, len(battery), max(1, len(battery) // count)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One experiment on a few prompts of its battery."""
    question = BehaveQuestion(stages=("pocket:base", "pocket:sft"), battery=("stages",))
    prompts = some(Prompts.battery("contexts-pocket"))
    return behave(question, tmp_path_factory.mktemp("runs") / "run", prompts=prompts)


def test_every_experiment_has_a_picture_and_two_batteries() -> None:
    assert set(EXPERIMENTS) == set(PICTURES)
    for name in EXPERIMENTS:
        for stages in (("pocket:base", "pocket:sft"), ("org/base", "org/tuned")):
            battery = battery_of(name, stages)
            assert len(battery) > 0
            assert ("pocket" in battery.source) == stages[0].startswith("pocket")


@pytest.mark.parametrize("name", sorted({experiment.battery for experiment in EXPERIMENTS.values()}))
def test_batteries_for_real_models_are_large_and_held_out_in_part(name: str) -> None:
    battery = Prompts.battery(name)
    templates = {prompt.template for prompt in battery.items}
    held_out = {prompt.template for prompt in battery.items if prompt.metadata.get("held_out")}
    assert len(battery) >= 100
    assert len(templates) >= 10
    assert held_out
    assert held_out < templates


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_from_its_battery_to_its_picture(name: str, tmp_path: Path) -> None:
    stages = ("pocket:base", "pocket:sft")
    prompts = some(battery_of(name, stages), 12)
    run = behave(BehaveQuestion(stages=stages, battery=(name,)), tmp_path / "run", prompts=prompts)
    found = run.read("summary.json")["behaviour"][name]
    assert summaries.of(name).headline(found)
    assert set(run.load(name)["text"].values.tolist()) <= {prompt.text for prompt in prompts.items}
    chart = PICTURES[name](run.load(name)).to_dict()
    assert all(chart["datasets"].values())


def test_the_run_holds_data_summary_and_picture(run: Run) -> None:
    assert {path.stem for path in run.path.glob("*.nc")} == {"stages"}
    assert set(run.read("summary.json")["behaviour"]) == {"stages"}
    assert 'data-chart="behaviour-stages"' in (run.path / "report.html").read_text()
    dataset = run.load("stages")
    assert [v for v in dataset.data_vars if "units" not in dataset[v].attrs] == []


def test_joined_batteries_hold_each_prompt_once() -> None:
    one, two = Prompts.from_texts(["a", "b"]), Prompts.from_texts(["c"])
    assert len(joined([one, one])) == 2
    assert joined([Prompts(one.items, "x"), Prompts(two.items, "y"), Prompts(one.items, "x")]).source == "x + y"


def test_bad_requests_are_refused(tiny: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="give some of stages"):
        BehaveQuestion(stages=("a", "b"), battery=("jokes",))
    out = tmp_path / "run"
    assert main(["behave", str(tiny("llama")), str(tiny("llama")), "--battery", "jokes", "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


@pytest.mark.slow
def test_the_command_writes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.jsonl"
    rows = [
        {"text": p.text, "template": p.template, **p.metadata} for p in some(Prompts.battery("contexts-pocket")).items
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    options = ["--battery", "stages", "--prompts", str(file), "--out", str(tmp_path / "run")]
    assert main(["behave", "pocket:base", "pocket:sft", *options]) == 0
    assert "report" in capsys.readouterr().out
    assert (tmp_path / "run" / "stages.nc").exists()
