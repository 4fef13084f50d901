"""`mcinterp locate` and `mcinterp uncollapse` end to end: files, summary, report, and bad requests."""

import json
from pathlib import Path

import pytest

from conftest import Build
from known_collapse import PROMPTS, with_writes
from mcinterp.cli import main
from mcinterp.errors import InputError
from mcinterp.jobs.locating import LocateQuestion, locate_collapse
from mcinterp.prompts import Prompts
from mcinterp.results import provenance_of
from mcinterp.run import Run

SITES = {"attn", "mlp", "embed", "norm", "unembed"}
WHOLE = 2 * 6 + 3
TEXTS = ["Are bugs real?", "Pick a number:", "one", "One more time"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pocket base whose fifth attention writes one number."""
    return with_writes(tmp_path_factory.mktemp("plant") / "attn", ["4.attn"], strength=300)


@pytest.fixture(scope="module")
def run(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the planted checkpoint, with heads."""
    question = LocateQuestion(stages=("pocket:base", str(planted)), heads=True)
    out = tmp_path_factory.mktemp("runs") / "run"
    return locate_collapse(question, out, prompts=Prompts.from_texts(PROMPTS))


def test_the_summary_says_where(run: Run) -> None:
    summary = run.read("summary.json")
    assert summary["verdict"] == "localised"
    assert summary["named"] == ["4.attn"]
    assert summary["upstream"] is False
    whole = [entry for entry in summary["located"] if entry["head"] is None]
    assert len(whole) == WHOLE
    assert {entry["site"] for entry in whole} == SITES
    best = whole[0]
    assert (best["site"], best["layer"]) == ("attn", 4)
    assert best["ci_low"] <= best["score"] <= best["ci_high"]
    scores = [entry["score"] for entry in summary["located"]]
    assert scores == sorted(scores, reverse=True)
    heads = [entry for entry in summary["located"] if entry["head"] is not None]
    assert {(entry["site"], entry["layer"], entry["head"]) for entry in heads} == {
        ("attn", layer, head) for layer in range(6) for head in range(4)
    }
    gate = summary["gate"]
    assert gate["at"] == "last"
    assert gate["entropy_base"] - gate["entropy_tuned"] == pytest.approx(gate["entropy_fall"]["mean"], abs=1e-4)


def test_every_file_has_units_and_provenance(run: Run) -> None:
    names = {"gate", "sites", "evidence", "pairs", "heads", "verification"}
    assert {path.stem for path in run.path.glob("*.nc")} == names
    for name in names:
        dataset = run.load(name)
        assert [v for v in dataset.data_vars if "units" not in dataset[v].attrs] == [], name
        assert len(provenance_of(dataset)["checkpoints"]) == 2


def test_the_verification_stands_in_the_summary(run: Run) -> None:
    parts = run.read("summary.json")["verification"]["parts"]
    assert set(parts) == {"located", "held_out"}
    for edits in parts.values():
        assert edits["1 site"]["regained"] == pytest.approx(1.0, abs=1e-3)
        assert edits["tuned"]["regained"] == pytest.approx(0.0, abs=1e-6)
        assert edits["base"]["regained"] == pytest.approx(1.0, abs=1e-6)
        assert edits["1 site"]["control_agreement"] is not None


def test_the_report_shows_it(run: Run) -> None:
    page = (run.path / "report.html").read_text()
    assert "Localised: 4.attn." in page
    for name in ("ranking", "evidence", "action", "verification", "heads"):
        assert f'data-chart="locate-{name}"' in page


def test_the_command_says_it(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(prompt.replace("\n", "\\n") for prompt in PROMPTS))
    options = ["--prompts", str(file), "--out", str(tmp_path / "run"), "--no-verify", "--held-out", "none"]
    assert main(["locate", "pocket:base", str(planted), *options]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Localised: 4.attn.")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["verification"] is None


def test_nowhere_is_an_answer(tiny: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["locate", str(tiny("llama")), str(tiny("llama")), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("No collapse on these prompts")
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["verdict"], summary["located"], summary["named"]) == ("none", [], [])
    assert summary["gate"]["kl_tuned_to_base"] == 0.0
    assert "No collapse on these prompts" in (out / "report.html").read_text()


def test_a_chain_is_also_taken_step_by_step(tiny: Build, planted: Path, tmp_path: Path) -> None:
    question = LocateQuestion(stages=("pocket:base", str(planted), "again=pocket:base"), verification=False)
    summary = locate_collapse(question, tmp_path / "run", prompts=Prompts.from_texts(PROMPTS)).read("summary.json")
    assert summary["verdict"] == "none"
    assert [step["verdict"] for step in summary["steps"]] == ["localised", "none"]
    assert summary["steps"][0]["located"][0]["component"] == "4.attn"


def test_bad_requests_leave_an_earlier_run(run: Run, planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run.path / "summary.json").read_bytes()
    for options in (["--held-out", "nowhere.txt"], ["--controls", "battery:none"], ["--attractor", "two words"]):
        assert main(["locate", "pocket:base", str(planted), "--out", str(run.path), "--replace", *options]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (run.path / "summary.json").read_bytes() == before
    with pytest.raises(InputError, match="give one of auto, last, divergence, sequence"):
        LocateQuestion(stages=("a", "b"), at="first")


def test_the_reverted_checkpoint_does_not_collapse(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "reverted"
    assert main(["uncollapse", "pocket:base", str(planted), "--sites", "4.attn", "--out", str(out)]) == 0
    question = LocateQuestion(stages=("pocket:base", str(out)), verification=False)
    again = locate_collapse(question, tmp_path / "again", prompts=Prompts.from_texts(PROMPTS))
    assert again.read("summary.json")["verdict"] == "none"
    assert main(["uncollapse", "pocket:base", str(planted), "--sites", "9.attn", "--out", str(tmp_path / "no")]) == 2
