"""What the README shows runs as it stands."""

import re
from pathlib import Path

import pytest

from mcinterp.cli import parser

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "lens.png").stat().st_size > 5000
    assert "prompt" in capsys.readouterr().out


def test_every_verb_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"^mcinterp ([a-z-]+)", README, re.MULTILINE))
    actions = [action for action in parser()._actions if action.dest == "verb"]
    assert verbs == set(actions[0].choices)
