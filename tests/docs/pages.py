"""The pages of the documentation and the blocks of code on them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
GAP = "..."
NEAR = 0.02


class Block(NamedTuple):
    """A fenced block: its language, its text, its line on the page, and what the page says it prints, if it does."""

    language: str
    text: str
    line: int
    prints: str | None


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are run, top to bottom.

    A block of `text` that stands right behind a block of code holds what that prints.
    """
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type != "fence" or token.info.strip() not in ("python", "sh"):
            continue
        shown = following is not None and following.type == "fence" and following.info.strip() == "text"
        printed = following.content if shown and following is not None else None
        yield Block(token.info.strip(), token.content, (token.map or [0])[0] + 1, printed)


def missing(expected: str, printed: str) -> list[str]:
    """Lines of an expected text that do not stand in a printed one in their order; `...` stands for any lines."""
    rest = [line for line in printed.splitlines() if line.strip()]
    for number, line in enumerate(wanted := [each for each in expected.splitlines() if each.strip()]):
        if line.strip() == GAP:
            continue
        place = next((i for i, each in enumerate(rest) if alike(line, each)), None)
        if place is None:
            return wanted[number:]
        rest = rest[place + 1 :]
    return []


def alike(expected: str, printed: str) -> bool:
    """Whether two lines say the same, numbers within 0.02 or 2 % of each other; a line may end in `...`."""
    if expected.rstrip().endswith(GAP):
        start = expected.rstrip().removesuffix(GAP)
        return words(printed).startswith(words(start)) and near(start, printed)
    return words(expected) == words(printed) and near(expected, printed)


def words(line: str) -> str:
    """A line without its numbers and spaces."""
    return re.sub(r"[\s▁▂▃▄▅▆▇█]+", "", NUMBER.sub("#", line))


def near(expected: str, printed: str) -> bool:
    """Whether the numbers of a line are near those of another, one by one."""
    pairs = zip(numbers(expected), numbers(printed), strict=False)
    return all(abs(a - b) <= NEAR * max(1.0, abs(a)) for a, b in pairs)


def numbers(line: str) -> list[float]:
    """All numbers of a line."""
    return [float(each.replace("−", "-")) for each in NUMBER.findall(line)]
