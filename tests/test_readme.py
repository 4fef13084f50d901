"""What the README shows first runs as it stands; `tests/docs` runs all of it."""

import re
from pathlib import Path

import pytest

from mcinterp.cli import parser

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_twelve_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "lens.png").stat().st_size > 5000
    assert "%" in capsys.readouterr().out.splitlines()[-1]


def test_every_verb_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"^mcinterp ([a-z-]+)", README, re.MULTILINE))
    actions = [action for action in parser()._actions if action.dest == "verb"]
    assert verbs == set(actions[0].choices)


def test_every_file_that_the_readme_links_is_there() -> None:
    root = Path(__file__).parent.parent
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(linked) > 20
    assert [each for each in linked if not (root / each).exists()] == []
