"""Processes that are killed, and full disks: what was made is kept, and the run ends as if nothing had been."""

import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcinterp.cli import main
from mcinterp.results import load

ROOT = Path(__file__).parent.parent.parent
SENTENCE = "what was made before is kept: free space and run again with --resume."


def kills() -> Any:
    """The script that kills."""
    spec = importlib.util.spec_from_file_location("kills", ROOT / "experiments" / "bench" / "kills.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kills"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_killed_runs_end_as_one_that_was_left_alone(tmp_path: Path) -> None:
    found = kills().kill_and_resume(tmp_path, kills=3, seed=1, only="lens,logits")
    assert found["kills"] == 3
    assert found["differing"] == 0


def comparison(folder: Path, tmp_path: Path) -> list[str]:
    """A comparison whose first result is small and whose second is not."""
    (tmp_path / "p.txt").write_text("one or two?\nPick a number:\nSay it:\nThe cat\n")
    asked = ["compare", "pocket:base", "pocket:sft", "--only", "lens", "--prompts", str(tmp_path / "p.txt")]
    return [*asked, "--max-new-tokens", "4", "--tuned-lens", "none", "--out", str(folder), "--quiet"]


def run_limited(arguments: list[str], limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    line = [sys.executable, "-m", "mcinterp.cli", *arguments]
    return subprocess.run(line, preexec_fn=limit, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_sentence(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    arguments = comparison(tmp_path / "run", tmp_path)
    done = run_limited(arguments, limit)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        f"mcinterp: {tmp_path}/run/lens.nc cannot be written (File too large); {SENTENCE}"
    ]
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["files"].keys() == {"completions.nc"}
    assert load(tmp_path / "run" / "completions.nc").sizes["prompt"] == 4
    assert not list((tmp_path / "run").glob(".*.partial"))
    assert main([*arguments, "--resume"]) == 0
    assert main(["verify", str(tmp_path / "run")]) == 0


@pytest.mark.slow
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        arguments = comparison(disk / "run", tmp_path)
        done = run_limited(arguments)
        assert done.returncode == 2, done.stderr
        said = f"mcinterp: {disk}/run/lens.nc cannot be written (No space left on device); {SENTENCE}\n"
        assert done.stderr == said
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert main([*arguments, "--resume"]) == 0
        assert main(["verify", str(disk / "run")]) == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
