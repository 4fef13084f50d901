"""The flow is the layout: a module imports only what stands before it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mcinterp

ROOT = Path(mcinterp.__file__).parent
ORDER = [
    "errors", "progress", "variables", "organisms", "divergence", "tilting", "sharpening", "statistics", "rendering",
    "prompts", "catalogue",
    "checkpoints", "readout", "placement", "norms", "alignment", "chain", "budget", "batching", "capture", "passes",
    "completions", "sequences",
    "results", "shards", "scoring", "samples", "lens_table", "lens", "readings", "tuned_lens", "attention",
    "attractors", "landmarks", "effects", "parts", "intervene", "folding", "growth", "temperature", "weights",
    "attribution", "neurons", "copying", "heads", "direction", "features", "interop", "verification", "localisation",
    "diversity", "behaviour", "summary", "identity", "run", "engines", "show", "benchmark", "jobs", "cli",
]  # fmt: skip


def imported(file: Path) -> set[str]:
    """Rooms of the package that a module imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mcinterp."):
            names.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "mcinterp":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mcinterp."))
    return names & set(ORDER)


def room(file: Path) -> str:
    """The top-level module or package that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [file for file in sorted(ROOT.rglob("*.py")) if file != ROOT / "__init__.py"]


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room(file) for file in FILES} == set(ORDER)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_what_stands_before_it(file: Path) -> None:
    here = ORDER.index(room(file))
    assert [name for name in imported(file) if ORDER.index(name) > here] == []


@pytest.mark.parametrize(
    "module", ["mcinterp", "mcinterp.cli", "mcinterp.results", "mcinterp.organisms", "mcinterp.show.figures"]
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_two_files_of_tests_share_a_name() -> None:
    """Folders without `__init__.py` import their tests by the file's name alone."""
    tests = Path(__file__).parent
    names = [f.name for f in tests.rglob("test_*.py") if not (f.parent / "__init__.py").exists()]
    assert sorted(names) == sorted(set(names))
