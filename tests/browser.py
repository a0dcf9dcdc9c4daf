"""A headless Chromium driven over its DevTools protocol, for tests of pages.

The protocol is spoken through a pipe (``--remote-debugging-pipe``: JSON texts ended by NUL), so
that no port is opened and no further package is needed. What the methods do is in
https://chromedevtools.github.io/devtools-protocol/.

    page = chromium.page()
    page.open(file)
    page.click("#next")
    assert page.text("h1") == "..." and page.errors == [] and page.requests == []
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-extensions", "--disable-background-networking",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 120.0
"""Seconds that an answer of the browser, or a condition on a page, may take."""
_KEYS = {
    "Enter": "\r", "Tab": "\t", " ": " ", "Escape": "", "Backspace": "",
    "ArrowDown": "", "ArrowUp": "", "ArrowLeft": "", "ArrowRight": "", "Home": "", "End": "",
}  # fmt: skip
_CODES = {
    "Enter": 13, "Tab": 9, " ": 32, "Escape": 27, "Backspace": 8, "ArrowLeft": 37, "ArrowUp": 38,
    "ArrowRight": 39, "ArrowDown": 40, "End": 35, "Home": 36,
}  # fmt: skip


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(AssertionError):
    """The browser refused a command, or a script on the page raised."""


class Browser:
    """One Chromium process with a profile of its own. Close it when done."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        command = [program, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The browser reads from 3 and writes to 4, whatever numbers the pipes have here.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (theirs_in, theirs_out)]

        def place_ends() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            command, preexec_fn=place_ends, pass_fds=(3, 4),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        self._buffer = b""
        self._last_id = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def page(self, width: int = 1280, height: int = 900) -> Page:
        """Open a page of its own: no cookies, storage or cache of another one."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]  # fmt: skip
        page = self._pages[session] = Page(self, session, context)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        return page

    def call(self, method: str, /, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last_id += 1
        number = self._last_id
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self._out, text) :]
        deadline = time.monotonic() + PATIENCE
        while number not in self._answers:
            self.receive(deadline)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def receive(self, deadline: float) -> None:
        """Take in what the browser says next; nothing may come before ``deadline``."""
        ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise BrowserError(f"the browser said nothing for {PATIENCE:.0f} s")
        data = os.read(self._in, 1 << 20)
        if not data:
            raise BrowserError(f"the browser ended with status {self._process.wait(5)}")
        *whole, self._buffer = (self._buffer + data).split(b"\0")
        for text in whole:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                page.happened(message["method"], message["params"])

    def close(self) -> None:
        """End the process and delete its profile."""
        os.close(self._out)  # a browser whose pipe is closed ends by itself
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        self._profile.cleanup()


@dataclass
class Page:
    """One tab, and what happened in it."""

    browser: Browser
    session: str
    context: str
    errors: list[str] = field(default_factory=list)
    """Errors and warnings of the console, refused requests and uncaught exceptions, as text."""
    requests: list[str] = field(default_factory=list)
    """Addresses that the page asked for, itself left out, ``data:`` and ``blob:`` too."""
    _address: str = ""
    _document: str = ""
    """The loader of the document that is there, which a new one replaces."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol to this page."""
        return self.browser.call(method, session=self.session, **parameters)

    def open(self, place: Path | str) -> None:
        """Go to a file or an address and wait until it is loaded."""
        self._address = place.resolve().as_uri() if isinstance(place, Path) else place
        answer = self.call("Page.navigate", url=self._address)
        if error := answer.get("errorText"):
            raise BrowserError(f"{self._address}: {error}")
        # The answer can come while the document before is still there, which is complete as well.
        deadline = time.monotonic() + PATIENCE
        while self._document != answer.get("loaderId", self._document):
            self.browser.receive(deadline)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str, patience: float = PATIENCE) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + patience
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise BrowserError(f"not true within {patience:.0f} s: {condition}")
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Return the visible text of the first element."""
        return str(self.run(f"{_first(selector)}.innerText"))

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of every element."""
        found: list[str] = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)"
        )
        return found

    def click(self, selector: str) -> None:
        """Click on the middle of an element, as a mouse would: what covers it gets the click."""
        where = self.run(
            f"(() => {{ const e = {_first(selector)};"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left",
                clickCount=1,
            )  # fmt: skip

    def type(self, text: str, selector: str | None = None) -> None:
        """Type text where the focus is, or into an element."""
        if selector:
            self.run(f"{_first(selector)}.focus()")
        self.call("Input.insertText", text=text)

    def press(self, key: str, shift: bool = False) -> None:
        """Press a key, a letter or one of ``Enter``, ``Tab``, ``ArrowDown`` and the like."""
        letter = len(key) == 1 and key != " "
        text = key if letter else _KEYS[key]
        code = ord(key.upper()) if letter else _CODES[key]
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select by its value."""
        self.run(
            f"(() => {{ const e = {_first(selector)}; e.value = {json.dumps(value)};"
            " for (const n of ['input', 'change']) e.dispatchEvent(new Event(n, {bubbles: true}));"
            " })()"
        )

    def resize(self, width: int, height: int, scale: float = 1, mobile: bool = False) -> None:
        """Give the page another size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=mobile,
        )  # fmt: skip

    def media(self, features: Mapping[str, str] | None = None, kind: str = "") -> None:
        """Pretend media features, such as ``{"prefers-color-scheme": "dark"}``, or ``print``."""
        named = [{"name": name, "value": value} for name, value in (features or {}).items()]
        self.call("Emulation.setEmulatedMedia", media=kind, features=named)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what is seen, or with ``whole`` all that could be scrolled to, as PNG."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                            **({"clip": self._whole()} if whole else {}))  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """Close the page with everything it stored."""
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    def happened(self, event: str, details: Mapping[str, Any]) -> None:
        """Take note of an event."""
        if take := _EVENTS.get(event):
            take(self, details)

    def _whole(self) -> dict[str, float]:
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {**{name: size[name] for name in ("x", "y", "width", "height")}, "scale": 1}

    def _went(self, details: Mapping[str, Any]) -> None:
        if "parentId" not in details["frame"]:
            self._document = details["frame"]["loaderId"]

    def _requested(self, details: Mapping[str, Any]) -> None:
        address = details["request"]["url"]
        if address.split("#")[0] not in (self._address.split("#")[0], "about:blank"):
            self.requests.append(address)

    def _raised(self, details: Mapping[str, Any]) -> None:
        thrown = details["exceptionDetails"]
        self.errors.append(thrown.get("exception", {}).get("description") or thrown["text"])

    def _said(self, details: Mapping[str, Any]) -> None:
        if details["type"] in ("error", "warning", "assert"):
            said = (str(a.get("value", a.get("description"))) for a in details["args"])
            self.errors.append(f"{details['type']}: {' '.join(said)}")

    def _logged(self, details: Mapping[str, Any]) -> None:
        entry = details["entry"]
        if entry["level"] in ("error", "warning"):
            self.errors.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")


_EVENTS: Mapping[str, Callable[[Page, Mapping[str, Any]], None]] = {
    "Page.frameNavigated": Page._went,
    "Network.requestWillBeSent": Page._requested,
    "Runtime.exceptionThrown": Page._raised,
    "Runtime.consoleAPICalled": Page._said,
    "Log.entryAdded": Page._logged,
}


def _first(selector: str) -> str:
    """Return a JavaScript expression of the first element, which throws where there is none."""
    quoted = json.dumps(selector)
    missing = json.dumps(f"no element {selector}")
    return f"(document.querySelector({quoted}) ?? (() => {{ throw new Error({missing}) }})())"
