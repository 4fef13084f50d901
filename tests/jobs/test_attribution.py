"""`mcinterp attribute` end to end: every analysis in its file, its summary and its picture, and bad requests."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Build
from mcinterp.cli import main
from mcinterp.errors import InputError
from mcinterp.jobs.analyses import ANALYSES, AttributeQuestion
from mcinterp.jobs.attribution import attribute
from mcinterp.prompts import Prompts
from mcinterp.results import load, provenance_of
from mcinterp.run import Run
from mcinterp.show.attribution_figures import DRAWN

TEXTS = ["Are bugs real?", "Pick a number:", "one", "One more time", "What is it?", "Say it:"]


@pytest.fixture(scope="module")
def run(tiny: Build, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of every analysis on a tiny chain; the neurons' on a pair of few draws is tested where it lives."""
    stages = tuple(f"{stage}={tiny('llama', stage)}" for stage in ("base", "tuned", "later"))
    what = tuple(name for name in ANALYSES if name != "neurons")
    question = AttributeQuestion(stages=stages, what=what, orders=4, metric="attractor_log_prob", layer=1)
    return attribute(question, tmp_path_factory.mktemp("runs") / "run", prompts=Prompts.from_texts(TEXTS))


def test_every_analysis_has_its_file_and_its_entry(run: Run) -> None:
    names = {name for name in ANALYSES if name != "neurons"}
    assert {path.stem for path in run.path.glob("*.nc")} == names
    summary = run.read("summary.json")
    assert names <= set(summary)
    assert [entry["text"] for entry in summary["prompts"]] == TEXTS
    for name in names:
        dataset = run.load(name)
        assert [v for v in dataset.data_vars if "units" not in dataset[v].attrs] == []
        assert [c["name"] for c in provenance_of(dataset)["checkpoints"]] == ["base", "tuned", "later"]


def test_parts_in_the_summary_are_those_of_the_file(run: Run) -> None:
    for name, variable, along in (("update", "attribution", "component"), ("entropy_split", "shapley", "player")):
        dataset, entry = run.load(name), run.read("summary.json")[name]["stages"]["later"]
        one = dataset.sel(stage="later")
        assert entry["total"] == pytest.approx(float(one["total"].mean()), abs=1e-5)
        best = entry["parts"][0]
        mean = one[variable].mean("prompt")
        assert best["mean"] == pytest.approx(float(mean.sel({along: best[along]})), abs=1e-5)
        assert abs(best["mean"]) == pytest.approx(float(np.abs(mean).max()), abs=1e-5)
        assert best["low"] <= best["mean"] <= best["high"]
        assert entry["completeness_error"] == pytest.approx(float(one["completeness_error"].max()), abs=1e-6)


def test_the_report_draws_what_was_made(run: Run) -> None:
    page = (run.path / "report.html").read_text()
    for name in DRAWN:
        assert f'data-chart="attribution-{name}"' in page
    assert 'id="depth"' not in page


def test_the_command_line_attributes(tiny: Build, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "p.txt").write_text("\n".join(TEXTS))
    arguments = ["attribute", str(tiny("gpt2")), f"sft={tiny('gpt2', 'tuned')}", "--prompts", str(tmp_path / "p.txt")]
    assert main([*arguments, "--out", str(tmp_path / "run"), "--what", "update,logits", "--by", "head"]) == 0
    shown = capsys.readouterr()
    assert "update attribution, sft:" in shown.out
    assert shown.err == ""
    saved = load(tmp_path / "run" / "update.nc")
    assert (saved["head"] >= 0).sum() == 12
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["update"]["metric"] == "attractor_log_odds"
    assert main([*arguments, "--out", str(tmp_path / "run"), "--replace", "--what", "mood"]) == 2
    assert "got analyses ['mood']; give some of logits, update" in capsys.readouterr().err
    assert (tmp_path / "run" / "update.nc").exists()


def test_no_analysis_is_no_question() -> None:
    with pytest.raises(InputError, match="got analyses \\[\\]"):
        AttributeQuestion(stages=("a", "b"), what=())
