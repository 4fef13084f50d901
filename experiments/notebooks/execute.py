"""Execute the notebooks of this folder and store what they show; warnings and times of execution are left out.

An answer is the same files with outputs, which the documentation shows and the tests hold against a fresh execution.

    python experiments/notebooks/execute.py [NAME...]     (about three minutes on one core for all)
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent


def executed(file: Path) -> NotebookNode:
    """A notebook with what its cells give now."""
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main(names: list[str]) -> None:
    """Execute some notebooks by name, or all."""
    for file in sorted(HERE.glob("*.ipynb")):
        if not names or file.stem in names:
            nbformat.write(executed(file), file)
            print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
