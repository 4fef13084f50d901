"""The documentation builds without a warning, names all there is to name, and its pages ask for nothing."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT
from playwright.sync_api import sync_playwright

import mcinterp
from mcinterp.cli import parser
from mcinterp.variables import VARIABLES

SHOWN = ("index", "tutorial", "reference/command-line", "notebooks/one_prompt")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(name="docs")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as `make docs` builds it: a warning is an error, also of a link to what is not there."""
    target = tmp_path_factory.mktemp("docs")
    options = ["--fail-on-warning", "--nitpicky", "--quiet", "--fresh-env"]
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_the_reference_holds_every_name_verb_option_and_variable(built: Path) -> None:
    names = (built / "reference/python/names.html").read_text(encoding="utf-8")
    assert all(f">{name}<" in names for name in mcinterp.HOMES)
    line = (built / "reference/command-line.html").read_text(encoding="utf-8")
    top = next(action for action in parser()._actions if action.dest == "verb")
    for verb, each in top.choices.items():
        assert f"mcinterp {verb}" in line
        assert all(f">{option}<" in line for action in each._actions for option in action.option_strings[-1:])
    variables = (built / "reference/variables.html").read_text(encoding="utf-8")
    assert all(f">{name}<" in variables for name in VARIABLES)


def test_no_page_takes_script_style_or_picture_from_elsewhere(built: Path) -> None:
    for page in built.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]+"', text) == [], page.name
        assert re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//[^"]+"', text) == [], page.name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_offline_without_an_error(built: Path, scheme: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(color_scheme=scheme, offline=True).new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith("http") and wrong.append(asked.url))
        for name in SHOWN:
            page.goto((built / f"{name}.html").as_uri())
        drawn = page.locator(".mcinterp-circuit").evaluate_all("boxes => boxes.map(box => box.innerText)")
        browser.close()
    assert wrong == []
    assert len(drawn) == 4
    assert not any("not on the page" in text for text in drawn)
