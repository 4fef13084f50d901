"""`mcinterp verify`: one line a file, or one sentence about the first that is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mcinterp.cli import main
from mcinterp.results import save, with_provenance
from mcinterp.run import Run
from mcinterp.run.manifest import Manifest
from mcinterp.run.opening import writing

BASE = {"name": "base", "spec": "org/base", "commit": None}


def dataset(tokens: str = "abc", spec: str = "org/base") -> xr.Dataset:
    """A dataset that says where it came from."""
    found = xr.Dataset({"x": ("prompt", np.zeros(2, np.float32))}, {"prompt": [0, 1]})
    return with_provenance(found, checkpoints=[{**BASE, "spec": spec}], token_ids_sha256=tokens)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run."""
    with writing(tmp_path / "run", "refuse", lambda line: None) as run:
        run.identify({"question": 1}, [(0, 2)], checkpoints=[BASE], token_ids_sha256="abc")
        run.save("patch", dataset())
        run.write("located.json", {"datasets": [], "found": {}})
        run.finish({}, lambda made: (made.path / "report.html").write_text("page"))
    return tmp_path / "run"


def test_every_file_of_a_whole_run_has_its_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "all 4 files are as they were written"
    assert [line.split()[-1] for line in lines] == ["located.json", "patch.nc", "report.html", "summary.json"]


def refused(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence about what is wrong."""
    assert main(["verify", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_torn_and_missing_files_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (run / "patch.nc").read_bytes()
    (run / "patch.nc").write_bytes(content[:-1] + b"x")
    assert "patch.nc is not as it was written (its SHA-256 should begin with" in refused(run, capsys)
    (run / "patch.nc").unlink()
    assert "patch.nc is not there; make it again with --resume." in refused(run, capsys)


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        (dataset(spec="org/other"), "patch.nc is of checkpoint 'org/other', which run.json does not name"),
        (dataset(tokens="xyz"), "patch.nc is of other tokens than run.json names"),
    ],
)
def test_a_dataset_of_something_else_is_named(
    strange: xr.Dataset, said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(strange, run / "patch.nc")
    Manifest(run).add("patch.nc")
    assert said in refused(run, capsys)


def test_unfinished_runs_and_other_folders_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Run.open(run).read("run.json")
    (run / "run.json").write_text(json.dumps({**record, "state": "running"}))
    assert "did not finish; continue it with --resume." in refused(run, capsys)
    (run / "manifest.json").unlink()
    assert "has no file in its manifest; make it again with --replace." in refused(run, capsys)
    assert "is no run directory" in refused(tmp_path / "none", capsys)
