"""Debian's ``chromium``, or whatever has that name on PATH, driven by Playwright; tests are skipped without it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, LocatorAssertions, Page

Pages = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a module; Playwright's event loop must not outlive it, since other tests have one."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on PATH")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Pages]:
    """Opens a URL in a window of a width and a colour scheme; at the end no page may have failed or loaded anything
    from elsewhere."""
    problems: list[str] = []
    opened: list[Page] = []

    def opening(url: str, width: int = 1280, scheme: str = "light", height: int = 900) -> Page:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        origin = url.split("#")[0].rstrip("/")
        page.on("request", lambda sent: None if sent.url.startswith(origin) else problems.append(sent.url))
        page.goto(url)
        opened.append(page)
        return page

    yield opening
    for page in opened:
        page.close()
    assert not problems


def expect(locator: Locator) -> LocatorAssertions:
    """Waits until what is said of the locator holds, or fails."""
    from playwright.sync_api import expect as waiting

    return waiting(locator)


def width_beyond_window(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
