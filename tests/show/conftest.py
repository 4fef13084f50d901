"""A browser for tests: Debian's Chromium driven by Playwright, offline, with whatever goes wrong kept.

A test asks for `open_page` and gives it a file:

    def test_a_page(open_page: OpenPage, tmp_path: Path) -> None:
        opened = open_page(tmp_path / "report.html", wait="#depth svg", dark=True)
        assert opened.page.locator("svg").count() == 3  # `page` is Playwright's (synchronous)
        opened.page.locator("text=<bos>").first.hover()
        opened.page.screenshot(path=tmp_path / "page.png", full_page=True)

When the test ends, every page that it opened must have raised no error and asked for nothing but its own file.
`from show.conftest import OpenPage` gives the type.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urldefrag

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, Route, sync_playwright

OWN = ("data:", "blob:", "about:")
FLAGS = ["--no-sandbox", "--disable-gpu"]
PATIENCE = 20_000  # milliseconds


@dataclass(frozen=True)
class Opened:
    """An open page; `errors` and `requests` grow while it is used.

    `errors`: errors in the console, exceptions that nothing caught, and dialogs. `requests`: addresses asked for apart
    from the file itself, `data:` and `blob:`; none of them is let through.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class OpenPage(Protocol):
    """What the fixture `open_page` is."""

    def __call__(
        self, path: Path | str, *, dark: bool = False, wait: str | None = None, width: int = 1200, height: int = 900
    ) -> Opened: ...


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one for every worker of a session."""
    found = shutil.which("chromium")
    if found is None:
        pytest.fail("chromium is not installed; `apt-get install chromium` brings what these tests open pages in.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """`open_page(path, dark=False, wait=None, width=1200, height=900)` opens a file offline, in a context of its own.

    `wait` is a CSS selector that must be there before the page is handed out (20 seconds at most), `dark` what
    `prefers-color-scheme` says. When the test ends, no page may have errors or have asked for anything else.
    """
    contexts: list[BrowserContext] = []
    pages: list[Opened] = []

    def open_file(
        path: Path | str, *, dark: bool = False, wait: str | None = None, width: int = 1200, height: int = 900
    ) -> Opened:
        context = browser.new_context(
            offline=True, color_scheme="dark" if dark else "light", viewport={"width": width, "height": height}
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        opened = Opened(context.new_page())
        pages.append(opened)
        watch(context, opened, Path(path).resolve().as_uri())
        opened.page.goto(Path(path).resolve().as_uri())
        if wait is not None:
            opened.page.locator(wait).first.wait_for(state="attached")
        return opened

    yield open_file
    for context in contexts:
        context.close()
    assert [(opened.errors, opened.requests) for opened in pages] == [([], [])] * len(pages)


def watch(context: BrowserContext, opened: Opened, own: str) -> None:
    """Keep what goes wrong in a context, and let no request but that for the file itself through."""

    def asked(request: Request) -> None:
        if urldefrag(request.url)[0] != own and not request.url.startswith(OWN):
            opened.requests.append(request.url)

    def decide(route: Route) -> None:
        if urldefrag(route.request.url)[0] == own or route.request.url.startswith(OWN):
            route.continue_()
        else:
            route.abort()

    def refuse(dialog: Dialog) -> None:
        opened.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context.route("**/*", decide)
    context.on("request", asked)
    context.on("dialog", refuse)
    context.on("weberror", lambda error: opened.errors.append(str(error.error)))
    context.on("console", lambda said: opened.errors.append(said.text) if said.type == "error" else None)
