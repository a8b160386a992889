"""A real headless Chromium for tests of pages: the fixture `chromium`.

One browser starts a process of tests, on first use. Every test has pages of its own, and reads here
what they complained of and what they asked for. The browser resolves no name but this machine's.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    sync_playwright,
)

VARIABLE = "SENTINEL_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_SECONDS = 20


class Chromium:
    """The pages of one test.

    Attributes:
        complaints: Errors and warnings of the consoles, and exceptions that no script caught.
        requests: Every address that a page asked for, in order, without data and blob URLs.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open(
        self,
        address: str | Path,
        *,
        is_dark: bool = False,
        width: int = 1280,
        height: int = 900,
        has_scripts: bool = True,
    ) -> Page:
        """Open a page and wait until it has loaded.

        Args:
            address: A file, or the URL of a server of this machine.
            is_dark: Whether the reader prefers a dark page.
            width: Of the window, in CSS pixels; 360 is a small phone.
            height: Of the window, in CSS pixels.
            has_scripts: Whether the reader allows scripts.
        """
        context = self._browser.new_context(
            color_scheme="dark" if is_dark else "light",
            java_script_enabled=has_scripts,
            reduced_motion="reduce",
            viewport={"width": width, "height": height},
        )
        context.set_default_timeout(1000 * _SECONDS)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._note_message)
        page.on("pageerror", self._note_exception)
        page.on("request", lambda request: self._note_request(request.url))
        page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
        return page

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _note_exception(self, error: Error) -> None:
        self.complaints.append(f"exception: {error}")

    def _note_request(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            self.requests.append(url)

    def close(self) -> None:
        """Close every page."""
        for context in self._contexts:
            context.close()


def find_chromium() -> Path | None:
    """The browser that SENTINEL_CHROMIUM names, or the first on PATH.

    Raises:
        FileNotFoundError: if the variable names no program.
    """
    named = os.environ.get(VARIABLE)
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)
    if named and found is None:
        raise FileNotFoundError(f"{VARIABLE} names no program: {named}")
    return Path(found) if found else None


@pytest.fixture(scope="session")
def _browser() -> Iterator[tuple[Browser, asyncio.AbstractEventLoop]]:
    program = find_chromium()
    if program is None:
        pytest.skip(f"no Chromium: install Debian's package chromium, or set {VARIABLE}")
    with sync_playwright() as driver:
        loop = asyncio.get_running_loop()
        browser = driver.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        asyncio._set_running_loop(None)
        yield browser, loop
        asyncio._set_running_loop(loop)
        browser.close()


@pytest.fixture
def chromium(_browser: tuple[Browser, asyncio.AbstractEventLoop]) -> Iterator[Chromium]:
    """Opens pages in a real browser; skips where there is none."""
    browser, loop = _browser
    # the driver's loop counts as running between its calls: other tests need loops of their own
    asyncio._set_running_loop(loop)
    pages = Chromium(browser)
    yield pages
    pages.close()
    asyncio._set_running_loop(None)
