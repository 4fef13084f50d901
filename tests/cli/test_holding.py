"""How weights are held, what is allowed and what is left out, as the command line says it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import Build
from mcinterp.cli import main
from mcinterp.results import load

TEXTS = '{"text": "Are bugs real?"}\n{"text": 3}\n{"text": "yes or no"}\n'


@pytest.fixture
def asked(tiny: Build, tmp_path: Path) -> list[str]:
    """A comparison of prompts of which one cannot be read."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(TEXTS)
    stages = [f"base={tiny('llama')}", f"tuned={tiny('llama', 'tuned')}"]
    return ["compare", *stages, "--prompts", str(prompts), "--only", "lens", "--max-new-tokens", "2", "--quiet"]


def test_bad_prompts_are_left_out_where_asked(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([*asked, "--out", str(tmp_path / "run")]) == 2
    assert "line 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*asked, "--out", str(tmp_path / "run"), "--skip-bad"]) == 0
    assert load(tmp_path / "run" / "lens.nc")["text"].values.tolist() == ["Are bugs real?", "yes or no"]
    (left_out,) = json.loads((tmp_path / "run" / "run.json").read_text())["skipped"]
    assert "line 2" in left_out


def test_weights_are_held_as_asked_and_a_run_goes_on_with_less_memory(asked: list[str], tmp_path: Path) -> None:
    asked.append("--skip-bad")
    assert main([*asked, "--out", str(tmp_path / "whole")]) == 0
    assert main([*asked, "--out", str(tmp_path / "apart"), "--placement", "stream", "--deterministic"]) == 0
    assert "held stream (as asked)" in (tmp_path / "apart" / "log.txt").read_text()
    whole, apart = (load(tmp_path / name / "lens.nc") for name in ("whole", "apart"))
    assert whole.equals(apart)
    (tmp_path / "whole" / "lens.nc").unlink()
    assert main([*asked, "--out", str(tmp_path / "whole"), "--resume", "--placement", "one"]) == 0
    assert load(tmp_path / "whole" / "lens.nc").equals(whole)


def test_pickled_weights_are_read_where_allowed(
    asked: list[str], tiny: Build, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in tiny("llama", "tuned").iterdir():
        if file.suffix == ".safetensors":
            torch.save(load_file(file), pickled / "pytorch_model.bin")
        else:
            (pickled / file.name).write_bytes(file.read_bytes())
    asked[2] = f"tuned={pickled}"
    asked.append("--skip-bad")
    assert main([*asked, "--out", str(tmp_path / "run")]) == 2
    assert "--allow-pickle" in capsys.readouterr().err
    assert main([*asked, "--out", str(tmp_path / "run"), "--allow-pickle"]) == 0
    assert "pickled" in json.loads((tmp_path / "run" / "run.json").read_text())["checkpoints"][1]["location"]
