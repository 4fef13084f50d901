"""The notebooks run, give what is stored in them, and stay small."""

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from pages import ROOT, missing

FOLDER = ROOT / "experiments" / "notebooks"
sys.path.append(str(FOLDER))

from execute import executed  # noqa: E402

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1.5e6


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(notebook: NotebookNode) -> str:
    return "".join(output.text for output in outputs(notebook) if output.output_type == "stream")


def kinds(notebook: NotebookNode) -> list[list[str]]:
    return [sorted(output.get("data", {})) for output in outputs(notebook)]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_stored_executed_small_and_with_pictures(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    text = file.read_text(encoding="utf-8")
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert any("image/png" in each for each in kinds(notebook))
    assert file.stat().st_size < LARGEST
    assert str(ROOT) not in text
    assert text.count("CircuitsVis=") <= 1


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_gives_what_is_stored(file: Path) -> None:
    stored, now = nbformat.read(file, as_version=4), executed(file)
    assert kinds(now) == kinds(stored)
    assert missing(printed(stored), printed(now)) == []
