"""What holds pages to their code is itself held: no block escapes, and a wrong line or number is found."""

from pathlib import Path

import pytest
from commands import check_make, check_pip, check_python, check_synopsis, lines_of
from markdown_it import MarkdownIt
from pages import PAGES, ROOT, blocks, missing

LANGUAGES = {"python", "sh", "text"}
PRINTED = "task   a\nup  0.50 nats\ndown -1.20 nats\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_block_in_a_language_that_is_not_run(page: Path) -> None:
    fences = [t.info.strip() for t in MarkdownIt().parse(page.read_text(encoding="utf-8")) if t.type == "fence"]
    assert {info for info in fences if not info.startswith("{")} <= LANGUAGES


def test_blocks_are_read_with_what_they_print(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nx = 1\n```\n\n```text\n1\n```\n\n```sh\nls\n```\n\nb\n\n```text\n2\n```\n")
    assert [tuple(block) for block in blocks(page)] == [("python", "x = 1\n", 3, "1\n"), ("sh", "ls\n", 11, None)]


@pytest.mark.parametrize(
    ("expected", "lost"),
    [
        ("task a\n...\ndown -1.21 nats", []),
        ("up 0.5 na...", []),
        ("up 0.60 nats", ["up 0.60 nats"]),
        ("down -1.20 nats\nup 0.50 nats", ["up 0.50 nats"]),
        ("up 0.50 bits", ["up 0.50 bits"]),
    ],
)
def test_lines_are_found_in_their_order_with_near_numbers(expected: str, lost: list[str]) -> None:
    assert missing(expected, PRINTED) == lost


def test_lines_are_joined_and_comments_taken_away() -> None:
    assert list(lines_of("make test   # once\n\nmcinterp a \\\n  --b 'c d'\n")) == ["make test", "mcinterp a --b 'c d'"]


def test_what_does_not_exist_is_found() -> None:
    for check, words in ((check_make, "make nothing"), (check_pip, "pip install mcinterp[nothing]")):
        with pytest.raises(AssertionError, match="nothing"):
            check(words.split())
    with pytest.raises(AssertionError, match="experiments/nothing.py is run by nothing"):
        check_python(["python", "experiments/nothing.py"])
    with pytest.raises(AssertionError, match="--nothing"):
        check_synopsis("mcinterp compare BASE TUNED [--nothing N]")
