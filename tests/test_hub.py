"""Hub ids and revisions, on a local cache of the hub's own layout, without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Build

COMMITS = {"base": "a" * 40, "tuned": "b" * 40, "later": "c" * 40}


def into_cache(cache: Path, repository: str, revision: str, folder: Path, commit: str) -> None:
    """Lay a checkpoint into a hub cache as a download of one revision would."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / revision).write_text(commit)
    for file in folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())


@pytest.fixture
def offline(tiny: Build, tmp_path: Path) -> dict[str, str]:
    """An environment in which three revisions are cached and nothing else can be reached."""
    cache = tmp_path / "hub"
    into_cache(cache, "lab/pair-base", "main", tiny("llama"), COMMITS["base"])
    into_cache(cache, "lab/pair-tuned", "main", tiny("llama", "tuned"), COMMITS["tuned"])
    into_cache(cache, "lab/pair-tuned", "step-2", tiny("llama", "later"), COMMITS["later"])
    return {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}


def mcinterp(arguments: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "mcinterp.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_hub_ids_load_with_their_revisions(offline: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Are bugs real?\none\n")
    stages = ["lab/pair-base", "lab/pair-tuned", "later=lab/pair-tuned@step-2"]
    options = ["--prompts", "p.txt", "--out", "run", "--max-new-tokens", "2", "--only", "lens"]
    done = mcinterp(["compare", *stages, *options], offline, tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [(c["name"], c["revision"], c["commit"]) for c in record["checkpoints"]] == [
        ("pair-base", None, COMMITS["base"]),
        ("pair-tuned", None, COMMITS["tuned"]),
        ("later", "step-2", COMMITS["later"]),
    ]
    assert len({c["fingerprint"] for c in record["checkpoints"]}) == 3


def test_a_hub_id_that_cannot_be_reached_is_one_sentence(offline: dict[str, str], tmp_path: Path) -> None:
    done = mcinterp(["compare", "lab/pair-base", "lab/pair-tuned@nowhere"], offline, tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "checkpoint 'lab/pair-tuned@nowhere': its configuration cannot be read" in done.stderr
