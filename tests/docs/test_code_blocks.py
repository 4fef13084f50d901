"""Every block of code of the README and the documentation runs, page by page, and prints what the page says."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import MEASURED_ELSEWHERE, run_block
from pages import PAGES, ROOT, Block, blocks, missing
from shelf import adapter, hub, lay_out

from mcinterp.benchmark.methods import METHODS

WITH_CODE = [page for page in PAGES if any(blocks(page))]
SLOW = {
    "README.md",
    "docs/tutorial.md",
    "docs/explanation/attribution.md",
    "docs/explanation/locate.md",
    *(f"docs/how-to/{name}.md" for name in ("chains", "own-checkpoints", "own-localisation-method", "own-prompts")),
    *(f"docs/how-to/{name}.md" for name in ("own-tools", "pictures", "real-pair-on-a-gpu", "sparse-autoencoders")),
}
"""Pages that take more than five seconds."""


def param(page: Path) -> object:
    name = str(page.relative_to(ROOT))
    return pytest.param(page, id=name, marks=pytest.mark.slow if name in SLOW else ())


@pytest.fixture(scope="session")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


def run(block: Block, names: dict[str, object], page: Path, keep: Path) -> str:
    """Run one block; what it printed."""
    if block.language == "sh":
        return run_block(block.text, keep)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
    return printed.getvalue()


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """What pages change for a whole process is as before when they are through: the environment, the methods."""
    environment, methods = dict(os.environ), dict(METHODS)
    yield
    os.environ.clear()
    os.environ.update(environment)
    METHODS.clear()
    METHODS.update(methods)


@pytest.mark.parametrize("page", [param(page) for page in WITH_CODE])
@pytest.mark.usefixtures("undisturbed")
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Path) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path)
    hub(tmp_path, monkeypatch)
    (tmp_path / "two.txt").write_text("Are bugs real?\nFlip a coin.\n")
    if "my-adapter" in page.read_text(encoding="utf-8"):
        adapter(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        printed = run(block, names, page, keep)
        if block.prints is not None:
            assert missing(block.prints, printed) == [], f"{page.name}, line {block.line}, printed:\n{printed}"


def test_what_is_not_run_exists() -> None:
    assert all((ROOT / script).is_file() for script in MEASURED_ELSEWHERE)
