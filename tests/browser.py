"""A headless Chromium, the system's own, driven by Playwright, for tests of pages.

    page = chromium.page()
    page.open(file)
    page.click("#next")
    assert page.text("h1") == "..." and page.errors == [] and page.requests == []

``page.tab`` is Playwright's page, for whatever else a test wants of it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Error,
    Request,
    ViewportSize,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 120.0
"""Seconds that an answer of the browser, or a condition on a page, may take."""


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab, and what happened in it."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE * 1000)
        self.errors: list[str] = []
        """Errors and warnings of the console, refused requests and uncaught exceptions."""
        self.requests: list[str] = []
        """Addresses that the page asked for, its own left out."""
        self.tab = context.new_page()
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", self._hear)
        self.tab.on("request", self._note)

    def open(self, place: Path | str) -> None:
        """Go to a file or an address and wait until it is loaded."""
        self.tab.goto(place.resolve().as_uri() if isinstance(place, Path) else place)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        return self.tab.evaluate(script)

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true.

        Not by Playwright, whose second look is taken inside the page, where its policy forbids it.
        """
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"not true in {PATIENCE:.0f} s: {condition}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Return the visible text of the first element."""
        return self.tab.locator(selector).first.inner_text()

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of every element that is there now."""
        return self.tab.locator(selector).all_inner_texts()

    def click(self, selector: str) -> None:
        """Click on the first element, as a mouse would."""
        self.tab.locator(selector).first.click()

    def download(self, selector: str) -> tuple[str, str]:
        """Click on an element and return the file that it saves: its name and its text."""
        with self.tab.expect_download() as waited:
            self.click(selector)
        return waited.value.suggested_filename, waited.value.path().read_text("utf-8")

    def fill(self, selector: str, text: str) -> None:
        """Put text into a field."""
        self.tab.locator(selector).fill(text)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select by its value."""
        self.tab.locator(selector).select_option(value)

    def press(self, key: str) -> None:
        """Press a key: a letter or one of ``Enter``, ``Tab``, ``ArrowDown`` and the like."""
        self.tab.keyboard.press(key)

    def close(self) -> None:
        """Close its context, with everything that is stored in it."""
        self.tab.context.close()

    def crash(self) -> None:
        """End the browser's process as a failing machine would: it flushes and closes nothing."""
        session = self.tab.context.new_cdp_session(self.tab)
        with suppress(Error):  # the answer that never comes
            session.send("Browser.crash")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.errors.append(f"{message.type}: {message.text}")

    def _note(self, request: Request) -> None:
        if not (request.is_navigation_request() and request.frame == self.tab.main_frame):
            self.requests.append(request.url)


class Browser:
    """A running Chromium."""

    def __init__(self, kind: BrowserType, program: str) -> None:
        self._kind = kind
        self._program = program
        self._browser = kind.launch(executable_path=program)

    def page(self, width: int = 1280, height: int = 900, **options: Any) -> Page:
        """Open a page of its own: no cookies, storage or cache of another one.

        Args:
            width: of the viewport, in CSS pixels.
            height: of the viewport, in CSS pixels.
            **options: of Playwright's ``new_context``, such as ``color_scheme="dark"``.
        """
        viewport = ViewportSize(width=width, height=height)
        return Page(self._browser.new_context(viewport=viewport, **options))

    def page_with_profile(self, profile: Path) -> Page:
        """Open a page in a process of its own that keeps what it stores in a directory."""
        return Page(self._kind.launch_persistent_context(profile, executable_path=self._program))

    def close(self) -> None:
        """End the process."""
        self._browser.close()


@contextmanager
def started(program: str) -> Iterator[Browser]:
    """Start a Chromium for as long as the context lasts.

    Playwright holds an asyncio loop meanwhile, so that nothing else in this thread can run one.
    """
    with sync_playwright() as playwright:
        browser = Browser(playwright.chromium, program)
        yield browser
        browser.close()
