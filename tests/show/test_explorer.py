"""The page of all continuations: it draws, zooms into the clicked branch, and changes its prompt."""

from pathlib import Path

import mcinterp
from mcinterp.behaviour.multiverse.trees import multiverse
from mcinterp.prompts import Prompts
from mcinterp.show.behaviour.multiverse import explorer
from mcinterp.show.saving import save_page
from show.conftest import OpenPage

PIXELS = "document.querySelector('canvas.marks').toDataURL()"


def test_a_click_zooms_into_a_branch_and_a_double_click_back(tmp_path: Path, open_page: OpenPage) -> None:
    pair = mcinterp.load_pair("pocket:base", "pocket:sft")
    prompts = Prompts.battery("multiverse-pocket")
    dataset = multiverse(pair, prompts.select([0, 40]))
    path = tmp_path / "explorer.html"
    save_page(explorer(dataset, [0, 1]), path)
    page = open_page(path, wait="canvas.marks").page
    page.wait_for_timeout(500)
    whole = page.evaluate(PIXELS)
    box = page.locator("canvas.marks").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 60, box["y"] + 110)
    page.wait_for_timeout(500)
    assert page.evaluate(PIXELS) != whole
    page.mouse.dblclick(box["x"] + 300, box["y"] + 6)
    page.mouse.move(1, 1)
    page.wait_for_timeout(500)
    assert page.evaluate(PIXELS) == whole
    page.locator("select").select_option(index=1)
    page.wait_for_timeout(500)
    assert page.evaluate(PIXELS) != whole
