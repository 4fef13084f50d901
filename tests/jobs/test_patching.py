"""`mcinterp patch` end to end: the run directory, its summary, its report, and bad requests."""

import json
from pathlib import Path

import numpy as np
import pytest

import mcinterp
from conftest import Build
from mcinterp.cli import main
from mcinterp.results import load, provenance_of
from mcinterp.run import Run

PROMPTS = "Are bugs real?\nPick a number:\none\nOne more time"


@pytest.fixture(scope="module")
def arguments(tiny: Build, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A tiny pair and its prompts."""
    file = tmp_path_factory.mktemp("prompts") / "p.txt"
    file.write_text(PROMPTS)
    return ["patch", f"base={tiny('llama')}", f"sft={tiny('llama', 'tuned')}", "--prompts", str(file)]


def test_a_run_holds_what_patch_returns(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    assert main([*arguments, "--out", str(out), "--sites", "resid_pre,attn_out+mlp_out", "--layers", "0-1"]) == 0
    shown = capsys.readouterr()
    assert "base_to_tuned, attractor_log_odds" in shown.out
    assert "engine: fast; own activations put back changed at most" in shown.out
    assert shown.err == ""
    assert {path.name for path in out.iterdir()} == {
        "run.json", "manifest.json", "log.txt", ".lock", "summary.json", "report.html", "patch.nc",
    }  # fmt: skip
    saved = load(out / "patch.nc")
    pair = mcinterp.load_pair(arguments[1], arguments[2])
    again = mcinterp.patch(pair, PROMPTS.split("\n"), sites=("resid_pre", ("attn_out", "mlp_out")), layers=(0, 1))
    assert saved["site"].values.tolist() == ["resid_pre", "attn_out+mlp_out"]
    for name in again.data_vars:
        if again[name].dtype.kind == "f":
            np.testing.assert_allclose(saved[name].values, again[name].values, atol=1e-5)
    assert saved.attrs["verified_cells"] == 8
    assert saved.attrs["verified_difference"] < 1e-4
    assert [c["name"] for c in provenance_of(saved)["checkpoints"]] == ["base", "sft"]


def test_the_summary_names_the_strongest_cells(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["n_prompts"] == 4
    assert [entry["text"] for entry in summary["prompts"]] == PROMPTS.split("\n")
    one = summary["patch"]["directions"]["base_to_tuned"]
    assert (one["donor"], one["recipient"]) == ("base", "sft")
    patched = load(tmp_path / "run" / "patch.nc").sel(direction="base_to_tuned")
    change = (patched["attractor_log_odds"] - patched["attractor_log_odds_recipient"]).mean("prompt")
    best = one["cells"][0]
    assert abs(best["effect"]) == pytest.approx(float(abs(change).max()), abs=1e-5)
    assert best["effect"] == pytest.approx(float(change.sel(site=best["site"], layer=best["layer"])), abs=1e-5)
    gap = (patched["attractor_log_odds_donor"] - patched["attractor_log_odds_recipient"]).mean("prompt")
    assert one["gap"] == pytest.approx(float(gap), abs=1e-5)


def test_heads_positions_and_later_reads_have_their_axes(arguments: list[str], tmp_path: Path) -> None:
    options = ["--sites", "z", "--heads", "each", "--positions=-2,0", "--each-position", "--read-at", "0,2"]
    assert main([*arguments, "--out", str(tmp_path / "run"), *options, "--no-controls", "--quiet"]) == 0
    saved = load(tmp_path / "run" / "patch.nc")
    assert saved["entropy"].dims == ("prompt", "direction", "site", "layer", "head", "position", "read_at")
    assert saved["position"].values.tolist() == [-2, 0]
    assert saved["read_at"].values.tolist() == [0, 2]
    assert "control" not in saved.dims
    assert 'data-chart="patch-effects"' in (tmp_path / "run" / "report.html").read_text()


def test_what_is_written_under_a_patch_stands_in_the_report(arguments: list[str], tmp_path: Path) -> None:
    options = ["--sites", "resid_post", "--layers", "2", "--generate", "5", "--generate-prompts", "2"]
    assert main([*arguments, "--out", str(tmp_path / "run"), *options, "--quiet"]) == 0
    run = Run.open(tmp_path / "run")
    held = run.load("held")
    assert held.sizes["prompt"] == 2
    page = (run.path / "report.html").read_text()
    assert '<h2 id="held">' in page
    cell = run.read("summary.json")["held"]["base_to_tuned"]["cells"][0]
    left = held["left_at"].sel(direction="base_to_tuned", site="resid_post", layer=2).notnull().mean()
    assert cell["leaves"] == pytest.approx(float(left))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "7"], "got layers [7] with a window of 1 and the model has layers 0 to 2"),
        (["--layers", "x"], "got 'x' for --layers; give numbers or ranges such as 0,3,5-8"),
        (["--sites", "nose"], "site 'nose' is unknown"),
        (["--positions", "zebra"], "does not stand in prompt 0"),
        (["--heads", "each"], "heads were asked for and site 'resid_pre' has none"),
        (["--directions", "up_to_down"], "direction 'up_to_down' is unknown"),
        (["--metrics", "joy"], "metric 'joy' is unknown"),
        (["--donor-prompts", "nope.txt"], "prompt file 'nope.txt' cannot be read"),
    ],
)
def test_a_bad_request_is_one_sentence_and_leaves_the_last_run(
    arguments: list[str], options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "patch.nc").write_text("an earlier result")
    assert main([*arguments, "--out", str(tmp_path), "--replace", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert (tmp_path / "patch.nc").read_text() == "an earlier result"
