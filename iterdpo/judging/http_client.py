"""Asks a server in JSON and takes its answer whole: in a given time, and up to a given size.

The libraries' own timeouts are of single reads, and a server that sends a byte now and then passes
each of them for hours. Only what can be cancelled anywhere has a deadline for everything: looking
up a name, connecting, the headers and the body. Therefore requests run in an event loop, in a
thread of its own, that all callers share.
"""

from __future__ import annotations

import asyncio
import re
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx2

LARGEST_ANSWER: Final = 8 * 2**20
"""Bytes. The longest verdicts take some hundred thousand, escaped."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sent."""

    status: int
    body: bytes
    """At most ``LARGEST_ANSWER`` bytes, decompressed."""
    retry_after: str | None = None
    """The header, as it came."""


class BrokenAnswerError(Exception):
    """There was no whole answer; the text says why, in a server's and a library's words."""


class HttpClient:
    """Asks one server; safe to use from several threads."""

    def __init__(self, base_url: str, headers: Mapping[str, str], deadline: float) -> None:
        """Connect to nothing yet.

        Args:
            base_url: what paths are added to.
            headers: sent with every request.
            deadline: seconds for a whole answer, from its request on.
        """
        self._base_url = base_url.rstrip("/") + "/"
        # What was not asked to be compressed can be no bomb, unless a server does as it likes.
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._deadline = deadline
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient] | None = None

    def post(self, path: str, body: object) -> Answer:
        """Return the answer to ``body``, sent as JSON.

        Raises:
            BrokenAnswerError: none came in time, or it is too large, or the connection failed.
        """
        return self._answer("POST", path, body)

    def get(self, path: str) -> Answer:
        """Return what is there. Errors are those of ``post``."""
        return self._answer("GET", path, None)

    def close(self) -> None:
        """Close its connections. A later call opens new ones."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            loop, client = running
            asyncio.run_coroutine_threadsafe(client.aclose(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _answer(self, method: str, path: str, body: object) -> Answer:
        loop, client = self._connected()
        asked = self._ask(client, method, path, body)
        return asyncio.run_coroutine_threadsafe(asked, loop).result()

    async def _ask(
        self, client: httpx2.AsyncClient, method: str, path: str, body: object
    ) -> Answer:
        import httpx2

        raw = bytearray()
        try:
            async with (
                asyncio.timeout(self._deadline),
                client.stream(method, path, json=body) as response,
            ):
                async for part in response.aiter_raw():
                    raw += part
                    if len(raw) > LARGEST_ANSWER:
                        raise BrokenAnswerError(f"an answer of more than {LARGEST_ANSWER} bytes")
        except TimeoutError:
            raise BrokenAnswerError(f"no whole answer within {self._deadline:g} s") from None
        except httpx2.RequestError as error:
            raise BrokenAnswerError(f"{type(error).__name__}: {error}") from None
        content = _decompressed(bytes(raw), response.headers.get("content-encoding", ""))
        return Answer(response.status_code, content, response.headers.get("retry-after"))

    def _connected(self) -> tuple[asyncio.AbstractEventLoop, httpx2.AsyncClient]:
        import httpx2

        with self._lock:
            if self._running is None:
                client = httpx2.AsyncClient(
                    base_url=self._base_url,
                    headers=self._headers,
                    timeout=None,  # the deadline covers all that this would
                    limits=httpx2.Limits(max_connections=None),  # callers bound their number
                )
                loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(loop,), name="http", daemon=True).start()
                self._running = loop, client
            return self._running


def in_one_line(text: str, secret: str | None) -> str:
    """Return one short printable line of what a server said, without the key that it may quote.

    Some quote half of it.
    """
    if secret:
        text = text.replace(secret, "[key]")
        text = re.sub(r"[\w-]{8,}", lambda part: "[key]" if part[0] in secret else part[0], text)
    line = " ".join(text.split())[:200]
    return "".join(character for character in line if character.isprintable())


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _decompressed(raw: bytes, encoding: str) -> bytes:
    """Return what a server compressed though nobody asked it to; as it is where that is unknown."""
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        return raw
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, LARGEST_ANSWER)
    except zlib.error as error:
        raise BrokenAnswerError(f"an answer that is no {encoding}: {error}") from None
