"""The report opens offline, draws everything, and shows hostile tokens without running them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from conftest import Build
from mcinterp.cli import main
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.jobs.comparison import CompareQuestion, compare
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.show import circuits, figures

HOSTILE = [
    "</script><script>document.title='run'</script>",
    "<img src=x onerror=document.title='run'>",
    "{{ 7 * 7 }} <b>bold</b>",
    "Are bugs real?",
]


@pytest.fixture(scope="module")
def run(tiny: Build, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run over hostile prompts."""
    stages = (f"base={tiny('llama')}", f"mid={tiny('llama', 'later')}", f"tuned={tiny('llama', 'tuned')}")
    question = CompareQuestion(stages=stages, decoding=Decoding(4))
    return compare(question, tmp_path_factory.mktemp("report") / "run", prompts=Prompts.from_texts(HOSTILE))


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    """The report's source."""
    return (run.path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawn(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's document after its scripts ran in headless Chromium without a network."""
    browser = shutil.which("chromium")
    if browser is None:
        assert not os.environ.get("CI"), "continuous integration installs chromium"
        pytest.skip("chromium is not installed")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += [
        "--disable-component-update",
        "--disable-sync",
        "--proxy-server=127.0.0.1:9",
        "--virtual-time-budget=15000",
    ]
    flags += [f"--user-data-dir={tmp_path_factory.mktemp('browser')}", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [browser, *flags, f"file://{run.path}/report.html"], capture_output=True, text=True, timeout=120, check=True
    )
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line and ("rror" in line or "Uncaught" in line)]
    assert errors == []
    return done.stdout


def test_scripts_are_in_the_page_once_and_nothing_is_fetched(page: str) -> None:
    assert page.count("var CircuitsVis=") == 1
    assert page.count("window.vegaEmbed=") == 1
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", markup)


def test_hostile_text_is_escaped_in_the_source(page: str) -> None:
    assert "<script>document.title" not in page
    assert "<img src=x" not in page
    assert "<b>bold</b>" not in page
    assert "{{ 7 * 7 }}" in page.replace("&nbsp;", " ")


def test_everything_is_drawn_and_nothing_hostile_ran(drawn: str) -> None:
    assert re.search(r"<title>base → mid → tuned · mcinterp</title>", drawn)
    charts = re.findall(r'<div class="chart[^"]*" data-chart="([^"]+)"[^>]*>(.*?)</div>', drawn, re.DOTALL)
    assert [name for name, _ in charts] == [
        "depth-own", "depth-common", "position", "patch-effects", "patch-interaction",
        "attribution-logits", "attribution-update",
    ]  # fmt: skip
    assert drawn.count("<svg") >= 8
    tokens = drawn.split('id="tokens"')[1].split("<h3>")[0]
    assert "p(base)" in tokens
    assert "p(tuned)" in tokens
    assert "Head Selector" in drawn.split('id="attention-base"')[1]
    assert "Head Selector" in drawn.split('id="attention-tuned"')[1]


def test_components_refuse_unequal_lengths_and_escape_tokens() -> None:
    component = circuits.colored_tokens_multi(["<bos>", "a"], np.zeros((2, 1)), ["p"])
    assert component["props"]["tokens"] == ["&lt;bos&gt;", "a"]
    with pytest.raises(InputError, match="got 2 tokens and 3 values"):
        circuits.colored_tokens_multi(["a", "b"], np.zeros((3, 1)), ["p"])
    with pytest.raises(InputError, match="got 1 tokens and 2 values"):
        circuits.attention_heads(["a"], np.zeros((1, 2, 2)), ["h"])


def test_pictures_are_written_without_a_browser(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["figures", str(run.path), "--out", str(tmp_path / "figures")]) == 0
    of_lens = ["entropy_by_depth_own", "entropy_by_depth_common", "entropy_by_position", "lens_grid"]
    names = [*of_lens, "patch_effects", "patch_interaction", "attribution_logits", "attribution_update"]
    listed = [Path(line).name for line in capsys.readouterr().out.split()]
    assert listed == [f"{name}.{suffix}" for name in names for suffix in ("svg", "png")]
    for name in names:
        assert (tmp_path / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_lens_cells_hold_what_the_dataset_says(run: Run) -> None:
    lens = run.load("lens")
    cells = figures.lens_cells(lens, 3, "own")
    one = next(c for c in cells if c["panel"] == "tuned" and c["depth"] == "2_post" and c["column"].startswith("0 "))
    expected = lens["entropy"].sel(lens="own", stage="tuned", prompt=3, position=0, layer=2, site="resid_post")
    assert one["entropy"] == pytest.approx(float(expected), abs=1e-3)
    assert {c["panel"] for c in cells} == {"base", "tuned", "difference"}


def test_a_run_that_read_few_positions_has_a_report_too(tiny: Build, tmp_path: Path) -> None:
    stages = (str(tiny("llama")), str(tiny("llama", "tuned")))
    for positions in ("last", "prompt", "completion"):
        question = CompareQuestion(stages=stages, decoding=Decoding(3), positions=positions, tuned_lens="none")
        run = compare(question, tmp_path / positions, prompts=Prompts.from_texts(["Are bugs real?", "ab"]))
        columns = {cell["column"] for cell in figures.lens_cells(run.load("lens"), 0, "own")}
        assert len(columns) == {"last": 1, "prompt": 5, "completion": 4}[positions]


def test_visible_marks_spaces_and_breaks() -> None:
    assert figures.visible(" a\n") == "·a↵"
    assert figures.visible("") == "∅"
