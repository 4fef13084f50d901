"""The command line on bad input: exit status 2 and exactly one line on standard error."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_files import WEIGHTS, copied, edit_json, edit_weights, one_sentence

from conftest import Build
from mcinterp.cli import main


def said(capfd: pytest.CaptureFixture, arguments: list[str]) -> str:
    """The one line on standard error of a command that exits with status 2."""
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert not out
    assert err.count("\n") == 1, err
    assert err.startswith("mcinterp: ")
    return one_sentence(err.strip())


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    """A file with one prompt."""
    (tmp_path / "prompts.txt").write_text("hi\n")
    return str(tmp_path / "prompts.txt")


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: os.remove(f / "config.json"), "there is no config.json"),
    "no weights": (lambda f: os.remove(f / WEIGHTS), "no weights are there"),
    "no tokenizer": (lambda f: os.remove(f / "tokenizer.json"), "its tokenizer cannot be read"),
    "cut": (lambda f: os.truncate(f / WEIGHTS, 5000), "Error while deserializing header"),
    "missing": (lambda f: edit_weights(f, lambda w: w.pop("lm_head.weight")), "'lm_head.weight' is missing"),
    "unknown": (lambda f: edit_json(f / "config.json", model_type="nope"), "model type `nope`"),
    "vocabulary": (lambda f: edit_json(f / "config.json", vocab_size="x"), "'vocab_size' expected int"),
    "code": (lambda f: edit_json(f / "config.json", model_type="x", auto_map={"AutoConfig": "e.E"}), "--trust-remote"),
    "settings": (lambda f: (f / "generation_config.json").write_text("["), "generation settings cannot be read"),
    "template": (lambda f: edit_json(f / "tokenizer_config.json", chat_template=5), "its chat template is '5'"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_broken_checkpoints(tiny: Build, tmp_path: Path, prompts: str, capfd: pytest.CaptureFixture, name: str) -> None:
    change, message = BREAKS[name]
    broken = copied(tiny("llama"), tmp_path / "broken")
    change(broken)
    capfd.readouterr()
    arguments = ["compare", str(broken), str(broken), "--prompts", prompts, "--out", str(tmp_path / "run")]
    assert message in said(capfd, arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("spec", ["", "/gone", "pocket:../../etc", "nul\0byte", "x" * 10_000, "new\nline", "a b"])
def test_specs_that_name_nothing(capfd: pytest.CaptureFixture, spec: str, tmp_path: Path) -> None:
    said(capfd, ["compare", spec, spec, "--out", str(tmp_path / "run")])


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "p.txt"),
        (b"\xff\xfea\x00", "p.txt"),
        (b'{"text": "ok"}\n{', "p.jsonl"),
        (b'{"text": "\\ud800"}', "p.jsonl"),
        (b"word " * 200_000, "p.txt"),
        (b'{"messages": [{"role": "x\\u001b[31m", "content": ""}]}', "p.jsonl"),
    ],
)
def test_bad_prompts(capfd: pytest.CaptureFixture, content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    files = ["--prompts", str(tmp_path / name), "--out", str(tmp_path / "run")]
    said(capfd, ["compare", "pocket:base", "pocket:sft", *files])
    assert not (tmp_path / "run").exists()


def test_a_hub_that_cannot_be_reached_is_said_soon(tmp_path: Path) -> None:
    """In a process of its own: nothing answers at this address, and no file is tried twice."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_CACHE": str(tmp_path / "cache")}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "mcinterp.cli", "compare", "lab/base", "lab/tuned"]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "checkpoint 'lab/base': its configuration cannot be read" in one_sentence(done.stderr.strip())
    assert time.perf_counter() - began < 20


def test_a_whole_process_prints_one_line(tiny: Build, tmp_path: Path) -> None:
    broken = copied(tiny("llama"), tmp_path / "broken")
    edit_weights(broken, lambda w: w.pop("lm_head.weight"))
    (tmp_path / "p.jsonl").write_text(json.dumps({"text": "hi"}))
    command = [sys.executable, "-m", "mcinterp.cli", "compare", str(tiny("llama")), str(broken), "--prompts", "p.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "tensor 'lm_head.weight' is missing" in one_sentence(done.stderr.strip())


NASTY = [
    "\x00nul",
    "\x1b[31mred",
    "</script><script>alert(1)</script>",
    "\u202eright to left",
    "👩‍👩‍👧‍👦",
    "{{ 1 }} ${x}",
    "=1+1",
]


@pytest.mark.slow
def test_strange_prompts_run_and_are_escaped(tiny: Build, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "note": text}) for text in [*NASTY, NASTY[0]]))
    stages = [f"base={tiny('llama')}", f"tuned={tiny('llama', 'tuned')}"]
    options = ["--prompts", str(file), "--out", str(tmp_path / "run"), "--max-new-tokens", "2", "--quiet"]
    assert main(["compare", *stages, *options]) == 0, capfd.readouterr().err
    for page in (tmp_path / "run").rglob("*.html"):
        assert "<script>alert(1)" not in page.read_text(encoding="utf-8")
    json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
