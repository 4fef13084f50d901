"""What the README shows runs as it stands."""

import re
from pathlib import Path

import pytest

from mcinterp.cli import main, parser

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("Are bugs real?\nFlip a coin.\n")
    options = ["--only", "lens", "--prompts", "prompts.txt", "--out", "runs/pocket", "--quiet"]
    assert main(["compare", "pocket:base", "pocket:sft", *options]) == 0
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("lens.png", "onset.svg", "circuits.html"))
    assert "prompt" in capsys.readouterr().out


def test_every_verb_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"^mcinterp ([a-z-]+)", README, re.MULTILINE))
    actions = [action for action in parser()._actions if action.dest == "verb"]
    assert verbs == set(actions[0].choices)
