"""A run's directory: locked, whole files only, nothing made twice, and an earlier run kept until the new one begins."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mcinterp.errors import InputError
from mcinterp.results import Unwritable
from mcinterp.run import Run
from mcinterp.run.lock import locked
from mcinterp.run.opening import writing
from mcinterp.run.writing import Existing, Writing

IDENTITY = {"question": {"seed": 0}}


def dataset(value: float) -> xr.Dataset:
    """A dataset of one number a prompt."""
    return xr.Dataset({"entropy": ("prompt", np.full(3, value, np.float32))}, {"prompt": np.arange(3)})


def silent(line: str) -> None:
    """Says nothing."""


def write(folder: Path, value: float, existing: Existing = "refuse", **identity: object) -> float:
    """A whole run of one analysis; the number that it holds afterwards."""
    with writing(folder, existing, silent) as run:
        run.identify(IDENTITY | identity, [(0, 3)])
        run.say("measuring")
        found = run.made("lens", lambda: dataset(value))
        run.finish({"found": float(found["entropy"][0])}, page)
    return float(Run.open(folder).load("lens")["entropy"][0])


def page(run: Run) -> None:
    """A report."""
    (run.path / "report.html").write_text("page")


def test_a_run_holds_its_files_and_their_checksums(tmp_path: Path) -> None:
    assert write(tmp_path / "run", 1.0) == 1.0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {".lock", "log.txt", "run.json", "manifest.json", "lens.nc", "summary.json", "report.html"}
    run = Run.open(tmp_path / "run")
    assert run.read("run.json")["state"] == "finished"
    assert set(run.read("manifest.json")["files"]) == {"lens.nc", "summary.json", "report.html"}
    stamped = (run.path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["measuring", "finished"]


def test_an_earlier_run_is_refused_resumed_or_replaced(tmp_path: Path) -> None:
    write(tmp_path, 1.0)
    with pytest.raises(InputError, match="holds a run; continue it with --resume, replace it with --replace"):
        write(tmp_path, 2.0)
    assert write(tmp_path, 2.0, "resume") == 1.0
    assert write(tmp_path, 2.0, "replace") == 2.0


def test_the_first_change_is_named(tmp_path: Path) -> None:
    write(tmp_path, 1.0, dtype={"base": "float32"})
    with pytest.raises(InputError, match="made with dtype.base = 'float32' and now it is 'bfloat16'; ask the same"):
        write(tmp_path, 1.0, "resume", dtype={"base": "bfloat16"})


def test_an_earlier_run_stays_until_the_first_result_is_ready(tmp_path: Path) -> None:
    write(tmp_path, 1.0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"}

    def fail() -> xr.Dataset:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), writing(tmp_path, "replace", silent) as run:  # noqa: PT012
        run.identify(IDENTITY, [(0, 3)])
        run.say("measuring")
        run.made("lens", fail)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"} == before


def test_what_the_library_logs_is_kept_and_warnings_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    with writing(tmp_path, "refuse", told.append) as run:
        run.say("step")
        logging.getLogger("mcinterp.lens").info("batch %d", 3)
        logging.getLogger("mcinterp.budget").warning("memory ran out")
    logging.getLogger("mcinterp.lens").info("later")
    assert told == ["step", "memory ran out"]
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["step", "batch 3", "memory ran out"]


def test_a_new_directory_without_a_result_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "run", "refuse", silent) as run:  # noqa: PT012
        run.say("measuring")
        raise ZeroDivisionError
    assert not (tmp_path / "run").exists()


def test_only_one_process_writes(tmp_path: Path) -> None:
    sentence = f"is being written by process {os.getpid()} on .*; wait for it"
    with locked(tmp_path), pytest.raises(InputError, match=sentence):
        write(tmp_path, 1.0)
    assert write(tmp_path, 1.0) == 1.0


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from mcinterp.run.lock import locked\n"
        f"with locked(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on"):
            write(tmp_path, 1.0)
        holder.kill()
    assert write(tmp_path, 1.0) == 1.0


def test_half_written_files_are_swept(tmp_path: Path) -> None:
    write(tmp_path, 1.0)
    (tmp_path / ".lens.nc.0123.partial").write_text("half")
    (tmp_path / ".tuned_lens.0123.partial").mkdir()
    write(tmp_path, 2.0, "resume")
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("name", ["lens.nc", "manifest.json", "run.json", "summary.json", "report.html"])
@pytest.mark.parametrize("how", ["torn", "gone"])
def test_what_is_torn_or_gone_counts_as_not_made(name: str, how: str, tmp_path: Path) -> None:
    write(tmp_path, 1.0)
    content = (tmp_path / name).read_bytes()
    if how == "torn":
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    elif name != "run.json":
        (tmp_path / name).unlink()
    again = write(tmp_path, 2.0, "resume")
    assert again == (2.0 if name in ("lens.nc", "manifest.json") or (name, how) == ("run.json", "torn") else 1.0)
    assert Run.open(tmp_path).read("run.json")["state"] == "finished"
    assert (tmp_path / "report.html").read_text() == "page"


def test_analyses_made_together_are_one(tmp_path: Path) -> None:
    def together(run: Writing, value: float) -> dict[str, float]:
        return run.together("located", lambda: ({"gate": dataset(value), "sites": dataset(value)}, {"found": value}))

    for number, torn in enumerate((None, "sites.nc", "located.json")):
        if torn:
            (tmp_path / torn).write_bytes(b"")
        with writing(tmp_path, "resume", silent) as run:
            run.identify(IDENTITY, [(0, 3)])
            assert together(run, float(number)) == {"found": float(number)}
            assert together(run, 9.0) == {"found": float(number)}


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "base").mkdir()
        (folder / "base" / "lens").write_text("weights")

    with writing(tmp_path, "refuse", silent) as run:
        run.identify(IDENTITY, [(0, 3)])
        assert (run.folder("tuned", fill) / "base" / "lens").read_text() == "weights"
        run.folder("tuned", lambda folder: pytest.fail("filled twice"))
    assert json.loads((tmp_path / "manifest.json").read_text())["files"].keys() == {"tuned/base/lens"}


def test_an_unwritable_file_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    sentence = r"No space left on device\); what was made before is kept: free space and run again with --resume"
    with monkeypatch.context() as patched, pytest.raises(Unwritable, match=sentence):  # noqa: PT012
        patched.setattr(os, "fsync", full)
        write(tmp_path, 1.0)
    assert write(tmp_path, 2.0, "resume") == 2.0
