"""`mcinterp bench localise`: builds what is missing, prints tables, writes them and the picture."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from standins import stand_in

from mcinterp.cli.benching import add_bench, plant_names
from mcinterp.cli.options import Parser
from mcinterp.errors import InputError
from mcinterp.organisms.plants import building
from mcinterp.organisms.plants.designs import DESIGNS


def parsed(*words: str) -> argparse.Namespace:
    parser = Parser(prog="mcinterp bench")
    add_bench(parser)
    return parser.parse_args(["localise", *words])


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What the builder was asked for; it gives one stand-in."""
    asked: list[tuple[str, list[str]]] = []

    def build_plants(root: str, names: list[str], **options):
        asked.append((root, names))
        return [stand_in(Path(root), "pushed", "3.mlp")]

    monkeypatch.setattr(building, "build_plants", build_plants)
    return asked


def test_tables_are_printed_and_written(built: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = parsed("--out", str(out), "--kinds", "easy", "--methods", "delta norm,stitching", "--processes", "1")
    options.call(options)
    assert built == [(str(out / "plants"), plant_names("development", ["easy"]))]
    printed = capsys.readouterr().out
    assert "| stitching | 1.00 | 1.00 |" in printed
    names = ["benchmark.md", "benchmark.json", "localisation_development.svg", "localisation_development.png"]
    assert printed.splitlines()[-4:] == [str(out / name) for name in names]
    assert "### Top-1 by kind (tasks)" in (out / "benchmark.md").read_text()
    assert all((out / name).stat().st_size for name in (*names, "benchmark.nc", "answers/pushed.json"))


def test_quiet_says_nothing(built: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = parsed("--out", str(tmp_path), "--plants", str(tmp_path / "p"), "--methods", "delta norm", "--quiet")
    options.processes = 1
    options.call(options)
    assert built[0][0] == str(tmp_path / "p")
    assert capsys.readouterr().out == ""


def test_plants_are_chosen_by_half_and_kind() -> None:
    assert plant_names("both", None) == list(DESIGNS)
    report = plant_names("report", ["or", "negative"])
    assert {(DESIGNS[name].half, DESIGNS[name].kind) for name in report} == {
        ("report", "or"),
        ("report", "negative"),
    }
    with pytest.raises(InputError, match="got 'esay' for --kinds; give some of easy, hard"):
        plant_names("both", ["esay"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kinds", "esay"], "got 'esay' for --kinds; give some of easy"),
        (["--methods", "delta"], "got 'delta' for a method; give some of delta norm, delta top"),
    ],
)
def test_bad_input_is_refused_before_anything_is_built(
    built: list, tmp_path: Path, words: list[str], said: str
) -> None:
    options = parsed("--out", str(tmp_path), *words)
    with pytest.raises(InputError, match=said):
        options.call(options)
    assert built == []


def test_unknown_words_end_with_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed("--half", "middle")
    assert "invalid choice: 'middle'" in capsys.readouterr().err


def test_its_options_need_no_torch() -> None:
    code = "import sys, mcinterp.cli.benching; sys.exit('torch' in sys.modules or 'xarray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
