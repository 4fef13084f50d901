"""Components hold what the results say, are drawn by a real browser, and show hostile tokens without running them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from playwright.sync_api import Locator, Page

import mcinterp
from mcinterp.completions import Decoding
from mcinterp.errors import InputError
from mcinterp.landmarks import final_distribution
from mcinterp.results import token_text
from mcinterp.show import circuits
from mcinterp.show.circuits.component import JOINER, SCRIPT_MISSING
from mcinterp.show.circuits.notebook import SESSION
from show.conftest import OpenPage

HOSTILE = [
    "<bos>",
    "<script>document.title='run'</script>",
    "<img src=x onerror=document.title='run'>",
    "{{7*7}}",
    "</script>",
    "&lt;b&gt;",
    "\n",
    " <|endoftext|>",
    "",
]
SIZE = len(HOSTILE)
TWO = [("<b>x</b>", 0.5), ("\n", 0.25)]
DRAWN = ".mcinterp-circuit[data-drawn={}]"


@pytest.fixture(scope="module")
def results() -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Lens, attention and update attribution of the pocket pair on two prompts."""
    pair = mcinterp.load_pair("pocket:base", "pocket:sft")
    prompts = mcinterp.Prompts.from_texts(["Are bugs real?", "Pick a random number from 0 to 100:"])
    sequences = mcinterp.teacher_force(pair, pair.render(prompts), decoding=Decoding(5))
    attention = mcinterp.attention_patterns(pair, sequences, prompts=[0, 1])
    return mcinterp.logit_lens(pair, sequences), attention, mcinterp.update_attribution(pair, prompts)


@pytest.fixture(scope="module")
def lens(results: tuple[xr.Dataset, ...]) -> xr.Dataset:
    return results[0]


@pytest.fixture(scope="module")
def attention(results: tuple[xr.Dataset, ...]) -> xr.Dataset:
    return results[1]


@pytest.fixture
def fresh_kernel() -> Iterator[None]:
    """A session that has sent no script."""
    before, SESSION.sent = SESSION.sent, False
    yield
    SESSION.sent = before


def read(lens: xr.Dataset, prompt: int, stage: str) -> xr.Dataset:
    """The final distribution at the tokens of a prompt."""
    one = final_distribution(lens.sel(prompt=prompt, stage=stage))
    return one.sel(position=one["token_id"] >= 0)


def hostile() -> dict[str, circuits.Component]:
    """Every kind of component over hostile tokens, heads and labels."""
    pattern = np.tril(np.random.default_rng(0).random((2, SIZE, SIZE)))
    values = np.linspace(-1, 1, SIZE)
    each = [TWO] * SIZE
    return {
        "one <i>": circuits.colored_tokens(HOSTILE, values, unit="<u>", alternatives=each, caption="<s>caption</s>"),
        "several": circuits.colored_tokens_multi(HOSTILE, np.stack([values, -values], 1), ["<i>a</i>", "b"]),
        "log probs": circuits.token_log_probs(HOSTILE, -np.arange(1.0, SIZE), each[1:]),
        "table": circuits.lens_table(HOSTILE, ["in", "<0>"], [each, [[]] * SIZE]),
        "heads": circuits.attention_heads(HOSTILE, pattern, ["<a>", "b"]),
        "difference": circuits.attention_heads(HOSTILE, pattern - pattern[::-1], ["<a>", "b"], signed=True),
        "beside": circuits.attention_side_by_side(HOSTILE, pattern, pattern[::-1], ["<a>", "b"], stages=("<x>", "y")),
    }


def meant(text: str) -> str:
    """The token that a component shows so."""
    return text.replace(JOINER, "").replace("↵\n", "\n").replace("↵", "\n").replace("·", " ")


def drawn(page: Page, count: int) -> Page:
    """The page once so many components are in their boxes (React draws them a moment after it was asked)."""
    page.wait_for_function(
        "n => document.querySelectorAll('.mcinterp-circuit[data-drawn] > div > *').length === n", arg=count
    )
    return page


def inked(canvas: Locator) -> int:
    """How many colours a canvas holds."""
    return canvas.evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )


def listed(hover: Locator) -> list[str]:
    """The tokens that a hover lists."""
    return [text.replace("·", "").strip() for text in hover.locator("td:first-child").all_inner_texts()]


def said(hover: Locator) -> list[float]:
    """Their probabilities."""
    return [float(text) for text in hover.locator("td:last-child").all_inner_texts()]


def test_attention_is_that_of_the_dataset(attention: xr.Dataset) -> None:
    size = int(attention["n_tokens"].sel(prompt=1))
    pattern = attention["attention"].sel(prompt=1, layer=3).values[..., :size, :size]
    one = circuits.attention_of(attention, 1, "sft", 3)
    assert one["component"] == "AttentionHeads"
    np.testing.assert_allclose(one["props"]["attention"], pattern[1], atol=6e-4)
    gap = circuits.attention_difference(attention, 1, 3)["props"]
    np.testing.assert_allclose(gap["attention"], pattern[1] - pattern[0], atol=6e-4)
    assert (gap["minValue"], gap["maxValue"]) == (-1, 1)
    turned = circuits.attention_difference(attention, 1, 3, stages=("sft", "base"))["props"]
    np.testing.assert_allclose(turned["attention"], np.negative(gap["attention"]), atol=1e-9)


def test_side_by_side_holds_both_patterns_and_tuned_minus_base(attention: xr.Dataset) -> None:
    size = int(attention["n_tokens"].sel(prompt=0))
    pattern = attention["attention"].sel(prompt=0, layer=2).values[:, [3, 1], :size, :size]
    props = circuits.attention_compared(attention, 0, 2, heads=[3, 1])["props"]
    for head, made in enumerate(props["heads"]):
        base, tuned = pattern[:, head]
        np.testing.assert_allclose(made["patterns"], [base, tuned, tuned - base], atol=6e-4)
        assert made["note"] == f"distance {(abs(tuned - base).sum(-1) / 2).mean():.3f}"
    assert [made["name"] for made in props["heads"]] == ["L2H3", "L2H1"]
    widest = abs(pattern[1] - pattern[0]).max()
    assert props["panels"][2]["maxValue"] == -props["panels"][2]["minValue"] == pytest.approx(widest, abs=1e-6)
    same = circuits.attention_compared(attention, 0, 2, stages=("sft", "sft"))["props"]
    assert not np.any([made["patterns"][2] for made in same["heads"]])


def test_probabilities_and_alternatives_are_those_of_the_dataset(lens: xr.Dataset) -> None:
    one, names = read(lens, 0, "sft"), token_text(lens)
    props = circuits.token_alternatives(lens, 0, "sft")["props"]
    np.testing.assert_allclose(props["correctTokenLogProb"], one["next_log_prob"].values[:-1], atol=6e-4)
    np.testing.assert_allclose(np.exp(props["topKLogProbs"]), one["top_probability"].values[:-1], atol=2e-3)
    best = [[names[i] for i in row] for row in one["top_token"].values[:-1].tolist()]
    assert [[meant(t) for t in row] for row in props["topKTokens"]] == best
    assert [meant(t) for t in props["prompt"]] == one["token"].values.tolist()
    for token, row, rank in zip(one["token"].values[1:].tolist(), best, props["correctTokenRank"], strict=True):
        assert rank == (row.index(token) if token in row else "≥5")
    multi = circuits.token_probabilities(lens, 0)["props"]
    assert multi["values"][0] == [0, 0]
    np.testing.assert_allclose(np.array(multi["values"])[1:, 1], np.exp(one["next_log_prob"].values[:-1]), atol=6e-4)


def test_a_token_has_the_reading_of_the_distribution_it_was_drawn_from(lens: xr.Dataset) -> None:
    both = [circuits.token_values(lens, 1, stage)["props"] for stage in ("base", "sft")]
    assert both[0]["maxValue"] == both[1]["maxValue"]
    one = read(lens, 1, "sft")
    assert both[1]["values"][0] is None
    np.testing.assert_allclose(both[1]["values"][1:], one["entropy"].values, atol=6e-4)
    assert both[1]["tokens"][-1] == "…"
    assert [len(each) for each in both[1]["alternatives"]] == [0, *[5] * one.sizes["position"]]
    gap = circuits.token_values(lens, 1, "sft", variable_name="js_stage_base")["props"]
    np.testing.assert_allclose(gap["values"][1:], one["js_stage_base"].values, atol=6e-4)


def test_readings_by_depth_are_those_of_the_dataset(lens: xr.Dataset) -> None:
    props = circuits.lens_readings(lens, 1, "base", lens_name="common", positions=[-1, 0, 1])["props"]
    one = lens.sel(lens="common", stage="base", prompt=1, position=[-1, 0, 1])
    assert [number for number, _ in props["columns"]] == [-1, 0, 1]
    assert props["depths"] == ["in", "0", "1", "2", "3", "4", "5"]
    names = token_text(lens)
    for depth, row in enumerate(props["cells"]):
        cell = one.sel(layer=max(depth - 1, 0), site="resid_post" if depth else "resid_pre")
        for at, choices in enumerate(row):
            wanted = [names[i] for i in cell["top_token"].values[at].tolist()]
            assert [meant(name) for name, _ in choices] == wanted
            np.testing.assert_allclose([p for _, p in choices], cell["top_probability"].values[at], atol=6e-4)


def test_parts_are_coloured_by_attribution(results: tuple[xr.Dataset, ...]) -> None:
    update = results[2]
    props = circuits.part_attribution(update, 1)["props"]
    np.testing.assert_allclose(props["values"], update["attribution"].sel(prompt=1).values.T, atol=6e-4)
    assert props["labels"] == ["sft (nats)"]


def test_missing_values_stay_missing() -> None:
    one = circuits.colored_tokens(["a", "b", "c"], [np.nan, np.inf, -2.0])["props"]
    assert one["values"] == [None, None, -2.0]
    assert (one["minValue"], one["maxValue"]) == (-2, 2)
    pattern = np.full((1, 2, 2), np.nan)
    assert circuits.attention_heads(["a", "b"], pattern, ["h"])["props"]["attention"] == [[[None] * 2] * 2]
    beside = circuits.attention_side_by_side(["a", "b"], pattern, pattern, ["h"])
    assert "NaN" not in circuits.page(beside).partition("<script>")[0]
    assert circuits.token_log_probs(["a", "b"], [-np.inf], [[]])["props"]["correctTokenLogProb"] == [-100]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: circuits.colored_tokens(["a"], [1, 2]), "got 1 tokens and 2 values"),
        (lambda: circuits.colored_tokens(["a"], [1], alternatives=[]), "got 1 tokens and 0 lists of alternatives"),
        (lambda: circuits.colored_tokens_multi(["a", "b"], np.zeros((3, 1)), ["p"]), "got 2 tokens and 3 values"),
        (lambda: circuits.colored_tokens_multi(["a"], np.zeros((1, 2)), ["p"]), r"shape \(1, 2\) and 1 labels"),
        (lambda: circuits.token_log_probs(["a", "b"], [0, 0], [[]]), "got 1 tokens and 2 log-probabilities behind"),
        (lambda: circuits.token_log_probs(["a", "b"], [np.nan], [[]]), "token 1 has no log-probability; leave it out"),
        (lambda: circuits.lens_table(["a"], ["0", "1"], [[[]]]), "got 2 depths and 1 rows"),
        (lambda: circuits.lens_table(["a"], ["0"], [[[], []]]), "got 1 tokens and 2 readings"),
        (lambda: circuits.attention_heads(["a"], np.zeros((1, 2, 2)), ["h"]), "got 1 tokens and 2 values"),
        (lambda: circuits.attention_heads(["a"], np.zeros((1, 1, 1)), ["h", "i"]), "got 2 names and 1 heads"),
        (lambda: circuits.attention_heads(["a"], np.zeros((1, 1)), ["h"]), "head by query by key is wanted"),
        (lambda: circuits.page([]), "there are no components to put on the page"),
    ],
)
def test_what_does_not_fit_is_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_what_is_not_in_the_dataset_is_refused(lens: xr.Dataset, attention: xr.Dataset) -> None:
    with pytest.raises(InputError, match=r"there is no stage 'rl'; the dataset has \['base', 'sft'\]"):
        circuits.token_alternatives(lens, 0, "rl")
    with pytest.raises(InputError, match="there is no layer 9"):
        circuits.attention_of(attention, 0, "sft", 9)
    with pytest.raises(InputError, match="got heads \\[7\\]; layer 1 has the heads 0 to 3"):
        circuits.attention_compared(attention, 0, 1, heads=[7])
    with pytest.raises(InputError, match="the dataset has no 'warmth'"):
        circuits.token_values(lens, 0, "sft", variable_name="warmth")
    with pytest.raises(InputError, match="'top_token' is no number at each position"):
        circuits.token_values(lens, 0, "sft", variable_name="top_token")
    with pytest.raises(InputError, match="there is no position 99"):
        circuits.lens_readings(lens, 0, "sft", positions=[99])


def test_a_component_is_plain_data() -> None:
    one = circuits.colored_tokens_multi(["<bos>", "a\n"], np.zeros((2, 1)), ["p"])
    assert json.loads(json.dumps(one)) == dict(one)
    assert set(one) == {"component", "props"}
    assert one["props"]["tokens"] == [f"<{JOINER}bos>", "a↵\n"]
    assert repr(one) == "<circuitsvis ColoredTokensMulti>"


def test_the_script_is_in_the_page_once_and_tokens_cannot_end_it() -> None:
    source = circuits.page(hostile(), title="<hostile>")
    assert source.count("var CircuitsVis=") == 1
    boxes = source.partition("<script>")[0]
    assert boxes.count("<script") == boxes.count("</script>") == len(hostile())
    assert "<title>&lt;hostile&gt;</title>" in source
    markup = re.sub(r"(<script[^>]*>).*?</script>", r"\1", source, flags=re.DOTALL)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", markup)


def test_hostile_tokens_are_drawn_as_text(open_page: OpenPage, tmp_path: Path) -> None:
    path = circuits.save(hostile(), tmp_path / "hostile.html", title="untouched")
    page = drawn(open_page(path).page, len(hostile()))
    assert page.title() == "untouched"
    assert page.locator("section > h2").all_inner_texts() == list(hostile())
    assert page.locator("figcaption").first.inner_text() == "<s>caption</s>"
    assert page.locator(".mcinterp-circuit :is(script, img, i, u, b:not(summary > b), s)").count() == 0
    for kind in ("TokensWithAlternatives", "ColoredTokensMulti"):
        written = page.locator(DRAWN.format(kind)).locator(".colored-tokens > span").all_inner_texts()
        assert [text.replace(JOINER, "").replace("\xa0", " ").rstrip() for text in written] == [
            *HOSTILE[:-3],
            "↵",
            " <|endoftext|>",
            "∅",
        ]
    tokens = page.locator(DRAWN.format("TokensWithAlternatives")).locator(".colored-tokens > span > span")
    tokens.nth(1).hover()
    hover = page.locator("[data-popper-interactive]")
    assert hover.inner_text().replace(JOINER, "").split("\n")[0] == HOSTILE[1]
    assert re.search(r"<b>x</b>\s+0.500\s+↵\s+0.250", hover.inner_text().replace(JOINER, ""))
    page.locator(DRAWN.format("LensTable")).locator("td").nth(2).hover()
    page.locator(DRAWN.format("TokenLogProbs")).locator("span > span").first.hover()
    assert page.title() == "untouched"
    page.screenshot(path=tmp_path / "hostile.png", full_page=True)


def test_every_component_is_drawn(
    open_page: OpenPage, tmp_path: Path, lens: xr.Dataset, results: tuple[xr.Dataset, ...], attention: xr.Dataset
) -> None:
    stages = ("base", "sft")
    made = {
        "Probability": [circuits.token_probabilities(lens, 0), circuits.token_probabilities(lens, 1)],
        "Alternatives": [circuits.token_alternatives(lens, 0, s) for s in stages],
        "Entropy": [circuits.token_values(lens, 0, s) for s in stages],
        "Lens": [circuits.lens_readings(lens, 1, s) for s in stages],
        "Attention": [circuits.attention_of(attention, 0, "sft", 1), circuits.attention_difference(attention, 0, 1)],
        "Side by side": circuits.attention_compared(attention, 1, 3),
        "Update": circuits.part_attribution(results[2], 0),
    }
    count = sum(1 if isinstance(each, circuits.Component) else len(each) for each in made.values())
    page = drawn(open_page(circuits.save(made, tmp_path / "all.html")).page, count)
    page.wait_for_function("[...document.querySelectorAll('canvas')].filter(c => c.width > 20).length >= 13")
    boxes = page.locator(".mcinterp-circuit[data-drawn]").all()
    assert all(len(box.inner_text()) > 20 for box in boxes)
    assert [inked(canvas) > 3 for canvas in page.locator("canvas:visible").all()] == [True] * (2 * 5 + 3)
    closed = page.locator("details:not([open])")
    assert closed.count() == 3
    head = page.locator("details").nth(0)
    head.locator("summary").click()
    page.wait_for_function("[...document.querySelectorAll('details[open] canvas')].every(c => c.width > 100)")
    assert page.locator("canvas:visible").count() == 2 * 5 + 6
    assert all(inked(canvas) > 3 for canvas in head.locator("canvas").all())


def test_hover_shows_the_alternatives_of_that_token(open_page: OpenPage, tmp_path: Path, lens: xr.Dataset) -> None:
    made = [circuits.token_alternatives(lens, 1, "base"), circuits.token_values(lens, 1, "base")]
    made.append(circuits.lens_readings(lens, 1, "base"))
    page = open_page(circuits.save(made, tmp_path / "hover.html"), wait=DRAWN.format("LensTable")).page
    drawn(page, len(made))
    one, names = read(lens, 1, "base"), token_text(lens)
    at = one["position"].values.tolist().index(0)  # the token drawn at the prompt's last position
    best = [names[i].strip() for i in one["top_token"].values[at].tolist()]
    chances = one["top_probability"].values[at].tolist()
    hover = page.locator("[data-popper-interactive]")

    page.locator(DRAWN.format("TokenLogProbs")).locator("span:has(> span)").nth(at).hover()
    rows = [row.split("\t") for row in hover.inner_text().split("\n") if row.startswith("#")]
    assert rows[0][3].strip() == str(one["token"].values[at + 1]).strip()
    assert [row[3].strip() for row in rows[1:]] == best
    np.testing.assert_allclose([float(row[1].rstrip("%")) / 100 for row in rows[1:]], chances, atol=6e-5)

    page.locator(DRAWN.format("TokensWithAlternatives")).locator(".colored-tokens > span").nth(at + 1).hover()
    assert f"{float(one['entropy'][at]):.3f} nats" in hover.inner_text()
    assert listed(hover) == best
    np.testing.assert_allclose(said(hover), chances, atol=6e-4)

    page.locator(DRAWN.format("LensTable")).locator("tbody > tr:last-child > td").nth(at).hover()
    assert listed(hover) == best
    np.testing.assert_allclose(said(hover), chances, atol=6e-4)


def test_a_dark_page_is_dark(open_page: OpenPage, tmp_path: Path) -> None:
    path = circuits.save(circuits.colored_tokens(["a"], [1.0]), tmp_path / "one.html")
    grounds = {}
    for dark in (False, True):
        page = open_page(path, dark=dark, wait=DRAWN.format("TokensWithAlternatives")).page
        grounds[dark] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        drawn = page.locator(".mcinterp-circuit").evaluate("box => getComputedStyle(box).filter")
        assert drawn == ("invert(1) hue-rotate(180deg)" if dark else "none")
    assert grounds == {False: "rgb(255, 255, 255)", True: "rgb(24, 24, 27)"}


@pytest.mark.usefixtures("fresh_kernel")
def test_cells_of_a_notebook_draw_with_one_script(open_page: OpenPage, tmp_path: Path) -> None:
    cells = [component._repr_html_() for component in hostile().values()]
    assert [cell.count("var CircuitsVis=") for cell in cells] == [1] + [0] * (len(cells) - 1)
    path = tmp_path / "notebook.html"
    path.write_text(
        "<!DOCTYPE html><meta charset='utf-8'><title>untouched</title>" + "\n".join(cells), encoding="utf-8"
    )
    page = drawn(open_page(path).page, len(cells))
    assert page.title() == "untouched"
    assert page.get_by_text("The script that draws this").count() == 0


@pytest.mark.usefixtures("fresh_kernel")
def test_a_notebook_without_the_script_says_so_and_the_script_can_be_sent_again(
    open_page: OpenPage, tmp_path: Path
) -> None:
    one = circuits.colored_tokens(["a", "b"], [1.0, 0.5])
    one._repr_html_()
    again = one._repr_html_()  # the first cell run anew: its output has no script any more
    path = tmp_path / "notebook.html"
    path.write_text("<!DOCTYPE html><meta charset='utf-8'>" + again * 2, encoding="utf-8")
    said = open_page(path).page.locator(".mcinterp-circuit").all_inner_texts()
    assert said == [SCRIPT_MISSING] * 2
    path.write_text(path.read_text(encoding="utf-8") + circuits.script()._repr_html_() + again, encoding="utf-8")
    drawn(open_page(path).page, 3)
