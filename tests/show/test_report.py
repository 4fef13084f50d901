"""The report opens offline, draws everything, and shows hostile tokens without running them."""

import re
from pathlib import Path
from typing import Any

import pytest

from conftest import Build
from mcinterp.cli import main
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.jobs.comparison import ANALYSES, CompareQuestion, compare
from mcinterp.prompts import Prompts
from mcinterp.run import Run
from mcinterp.show import figures
from mcinterp.show.report import write_report
from show.conftest import Opened, OpenPage

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
    question = CompareQuestion(stages=stages, decoding=Decoding(4), only=ANALYSES[:-1])
    return compare(question, tmp_path_factory.mktemp("report") / "run", prompts=Prompts.from_texts(HOSTILE))


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    """The report's source."""
    return (run.path / "report.html").read_text(encoding="utf-8")


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


def opened_whole(open_page: OpenPage, path: Path, **how: Any) -> Opened:
    """A report whose charts and prompts are all drawn."""
    opened = open_page(path, wait=".three .chart[data-drawn=yes]", **how)
    opened.page.evaluate("drawAll()")
    opened.page.wait_for_function("boxes.every((box) => box.dataset.drawn === 'yes')")
    opened.page.locator(".explorer [data-part=tokens] .mcinterp-circuit span").first.wait_for(state="attached")
    return opened


@pytest.mark.parametrize("dark", [False, True])
def test_everything_is_drawn_and_nothing_hostile_ran(run: Run, open_page: OpenPage, dark: bool) -> None:
    page = opened_whole(open_page, run.path / "report.html", dark=dark).page
    assert page.title() == "base → mid → tuned · mcinterp"
    names = page.eval_on_selector_all(".chart", "boxes => boxes.map((box) => box.dataset.chart)")
    assert set(names) == set(page.evaluate("Object.keys(DATA.charts)"))
    assert names[3:] == [
        "depth-own", "depth-common", "position", "attribution-logits", "attribution-update", "patch-effects",
        "patch-interaction",
    ]  # fmt: skip
    marks = page.eval_on_selector_all(".chart", "boxes => boxes.map((box) => box.querySelectorAll('svg path').length)")
    assert min(marks) > 3
    assert page.locator("script").count() == 4
    assert page.locator("img").count() == 0
    ink = page.eval_on_selector(".chart svg text", "text => getComputedStyle(text).fill")
    assert ink == ("rgb(244, 244, 246)" if dark else "rgb(28, 28, 30)")


def test_the_picker_shows_each_prompt(run: Run, open_page: OpenPage) -> None:
    page = opened_whole(open_page, run.path / "report.html").page
    explorer = page.locator(".explorer")
    texts = explorer.locator("[data-part=prompt] option").all_text_contents()
    assert len(texts) == len(HOSTILE)
    shown = []
    for number in range(len(texts)):
        shown.append(explorer.locator("[data-part=tokens] .mcinterp-circuit").first.inner_text())
        assert explorer.locator(".facts:visible").count() == 1
        assert explorer.locator("[data-part=prompt]").input_value() == str(number)
        explorer.locator("[data-step='1']").click()
        page.wait_for_function("document.querySelector('[data-part=tokens] .mcinterp-circuit span') !== null")
    assert explorer.locator("[data-part=prompt]").input_value() == "0"
    assert len(set(shown)) == len(HOSTILE)
    explorer.locator("[data-part=search]").fill("are bugs")
    assert explorer.locator("[data-part=prompt] option").all_text_contents() == ["Are bugs real?"]
    explorer.locator("[data-part=lens]").select_option("common")
    page.wait_for_function("document.querySelector('[data-part=grid]').dataset.drawn === 'yes'")


def test_the_page_unpacks_the_cells_that_the_dataset_holds(run: Run, open_page: OpenPage) -> None:
    page = opened_whole(open_page, run.path / "report.html").page
    lens = run.load("lens")
    for prompt, name in ((0, "common"), (3, "own")):
        unpacked = page.evaluate(f"cells(DATA.runs[''].prompts, '{prompt}', '{name}')")
        expected = figures.lens_cells(lens, prompt, name)
        for panel in ("base", "tuned", "difference"):
            mine, theirs = ([c for c in cells if c["panel"] == panel] for cells in (unpacked, expected))
            assert len(mine) == len(theirs) > 0
            for one, other in zip(mine, theirs, strict=True):
                assert {k: one[k] for k in ("depth", "column", "order", "token")} == {
                    k: other[k] for k in ("depth", "column", "order", "token")
                }
                assert one["entropy"] == pytest.approx(other["entropy"], abs=2e-3)


def test_definitions_are_one_click_away(run: Run, open_page: OpenPage) -> None:
    page = opened_whole(open_page, run.path / "report.html").page
    wanted = page.eval_on_selector_all(".term", "terms => terms.map((term) => term.getAttribute('popovertarget'))")
    assert len(set(wanted)) >= 8
    assert page.evaluate("names => names.filter((name) => !document.getElementById(name))", wanted) == []
    definition = page.locator("#def-onset")
    assert not definition.is_visible()
    page.locator("[popovertarget=def-onset]").first.click()
    assert definition.is_visible()
    assert "half its final value" in definition.inner_text()


def test_hovering_shows_what_a_mark_is(run: Run, open_page: OpenPage) -> None:
    page = opened_whole(open_page, run.path / "report.html").page
    cell = page.locator("[data-part=grid] .mark-rect path").first
    cell.scroll_into_view_if_needed()
    cell.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "top tokens" in tooltip.inner_text()


@pytest.mark.slow
def test_two_runs_stand_side_by_side(tiny: Build, run: Run, tmp_path: Path, open_page: OpenPage) -> None:
    stages = (str(tiny("llama")), f"tuned={tiny('llama', 'tuned')}")
    question = CompareQuestion(stages=stages, decoding=Decoding(4), only=("lens",), seed=1)
    other = compare(question, tmp_path / "other", prompts=Prompts.from_texts([HOSTILE[3], HOSTILE[1]]))
    path = write_report([run, other], tmp_path / "both.html")
    page = opened_whole(open_page, path).page
    names = page.eval_on_selector_all(".chart", "boxes => boxes.map((box) => box.dataset.chart)")
    assert {"depth-own", "2/depth-own", "patch-effects", "beside"} <= set(names)
    assert "2/patch-effects" not in names
    assert page.locator(".explorer").count() == 2
    said = page.locator("section", has=page.locator("#beside")).inner_text()
    assert "seed" in said
    assert "entropy of tuned (nats)" in said
    shared = page.evaluate("Object.values(DATA.charts.beside.datasets).map((rows) => rows.length)")
    assert 2 in shared
    assert path.read_text(encoding="utf-8").count("window.vegaEmbed=") == 1


def test_runs_of_different_analyses_tell_one_story(tiny: Build, run: Run, tmp_path: Path) -> None:
    stages = (str(tiny("llama")), f"tuned={tiny('llama', 'tuned')}")
    question = CompareQuestion(stages=stages, decoding=Decoding(4), only=("update",))
    update = compare(question, tmp_path / "update", prompts=Prompts.from_texts(HOSTILE))
    question = CompareQuestion(stages=stages, decoding=Decoding(4), only=("logits",))
    logits = compare(question, tmp_path / "logits", prompts=Prompts.from_texts(HOSTILE))
    page = write_report([update, logits], tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('data-chart="attribution-update"') >= 1
    assert page.count('data-chart="2/attribution-logits"') >= 1
    assert 'id="patch"' not in page
    with pytest.raises(InputError, match="give at least one run directory"):
        write_report([])


def test_an_unfinished_run_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "give one that finished" in capsys.readouterr().err


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


@pytest.mark.slow
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
