"""A client of the chat completions that OpenAI's API and its many look-alikes speak.

It asks one question at a time from any number of threads, and is patient with what passes: rate
limits, overload, timeouts, cut connections and answers that are no JSON are tried again, later each
time and at random moments, and never before a server's own ``Retry-After``. What does not pass (a
wrong key, a model that is not there, a request that the server refuses) is a ``UserError`` of one
line. The key goes into one header and nowhere else: no message of this module holds it.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from iterdpo.config.types import Count, Positive
from iterdpo.config.urls import may_hold_secret, names_server
from iterdpo.errors import UserError
from iterdpo.judging.pacing import Pace, longest_wait, retry_after
from iterdpo.settings import Keyless

if TYPE_CHECKING:
    import httpx2

PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses of troubles that may be over soon."""
LONGEST_ASKED: Final = 600.0
"""Seconds; a server that asks for a longer wait than this is given up on."""
# Capital letters alone, as is the custom: many a key would pass for a name otherwise.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_TOO_LONG: Final = re.compile(
    r"maximum context length|context[_ ]length[_ ]exceeded|context window|prompt is too long",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered, and what it cost in tokens."""

    text: str
    outcome: Literal["stop", "length", "refused", "too_long"]
    """``length``: cut off at the token limit. ``refused``: the model or a filter declined, and
    ``text`` says how. ``too_long``: the question does not fit the model's context."""
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a try failed, where another may not."""

    said: str
    wait: float | None = None
    """Seconds that the server asks for."""


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """Where to ask, and how patiently."""

    base_url: str
    """Up to where ``/chat/completions`` is added: it ends in ``/v1`` at most servers."""
    model: str
    """The model's name at the server."""
    api_key_env: Annotated[str | None, Keyless("a secret's name")]
    """Name of the environment variable that holds the key; null for a server that asks for none.
    The key itself is written nowhere, and only this name is ever shown."""
    timeout_seconds: Annotated[Positive, Keyless("when to try again")]
    retries: Annotated[int, Field(ge=0), Keyless("stops a run, changes none")]
    """Further tries after overload, rate limits, timeouts and broken answers."""
    requests_per_minute: Annotated[Count | None, Keyless("speed")]

    def problems(self) -> list[str]:
        """Return what is wrong with these settings, a line each. No line shows a secret."""
        problems = []
        if may_hold_secret(self.base_url):
            problems.append(
                "base_url: holds credentials or a query; put the key into an environment variable "
                "and its name into api_key_env"
            )
        elif not names_server(self.base_url):
            problems.append(
                f"base_url={self.base_url}: give a URL such as http://localhost:8000/v1"
            )
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            problems.append(
                "api_key_env: is no name of an environment variable, in capital letters as in "
                "OPENAI_API_KEY; the key itself belongs into the variable"
            )
        return problems


class ChatClient:
    """Asks an endpoint; safe to use from several threads."""

    def __init__(
        self,
        settings: ClientSettings,
        api_key: str | None,
        *,
        pace: Pace | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings, self._sleep = settings, sleep
        self._key = api_key
        self._pace = pace or Pace(settings.requests_per_minute, sleep)
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()
        self._random = random.Random()

    def ask(self, messages: Sequence[Mapping[str, str]], options: Mapping[str, object]) -> Reply:
        """Return the model's answer to ``messages``.

        Args:
            messages: turns with ``role`` and ``content``.
            options: further fields of the request, such as ``temperature``.

        Raises:
            UserError: the endpoint cannot be asked so, or gave no answer at any try.
        """
        body = {"model": self.settings.model, "messages": list(messages), **options}
        trouble = Trouble("")
        for attempt in range(self.settings.retries + 1):
            if attempt:
                self._back_off(attempt, trouble)
            self._pace.wait()
            tried = self._try(body)
            if isinstance(tried, Reply):
                return tried
            trouble = tried
        raise UserError(
            f"{self._place}: no answer in {self.settings.retries + 1} tries, at last: "
            f"{trouble.said}; what was judged is kept: run the same command again"
        )

    def close(self) -> None:
        """Close its connections. A later call opens new ones."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _try(self, body: Mapping[str, object]) -> Reply | Trouble:
        import httpx2

        try:
            response = self._connected().post("chat/completions", json=body)
        except httpx2.TimeoutException:
            return Trouble(f"no answer within {self.settings.timeout_seconds:g} s")
        except httpx2.RequestError as error:
            return Trouble(self._clean(f"{type(error).__name__}: {error}"))
        if response.status_code == httpx2.codes.OK:
            return self._read(response)
        return self._refusal(response)

    def _read(self, response: httpx2.Response) -> Reply | Trouble:
        answer = _json(response)
        choice = _first(answer.get("choices"))
        message = choice.get("message")
        if not isinstance(message, dict):
            said = self._error(response)[1]  # some servers send their errors as 200
            return Trouble(f"an answer that is no chat completion{f': {said}' if said else ''}")
        text, refusal = message.get("content"), message.get("refusal")
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        if choice.get("finish_reason") == "content_filter" or isinstance(refusal, str):
            said = refusal if isinstance(refusal, str) else str(text or "")
            return Reply(_whole(said), "refused", *tokens)
        if text is not None and not isinstance(text, str):
            return Trouble("an answer whose content is no text")
        outcome: Literal["stop", "length"] = (
            "length" if choice.get("finish_reason") == "length" else "stop"
        )
        return Reply(_whole(text or ""), outcome, *tokens)

    def _refusal(self, response: httpx2.Response) -> Reply | Trouble:
        """Read an answer that is not 200: tell what passes from what does not."""
        status, settings = response.status_code, self.settings
        code, said = self._error(response)
        if status in (401, 403):
            # The server's own words are left out: some quote the key.
            held = f"the key in {settings.api_key_env}" if self._key else "a request without a key"
            raise UserError(
                f"{self._place}: the server refuses {held} ({status}); set judge.api_key_env to "
                "the environment variable that holds a valid key"
            )
        if code == "insufficient_quota":
            raise UserError(f"{self._place}: the account has no credit left ({status}): {said}")
        if status in PASSING:
            return Trouble(f"{status} {said}".strip(), self._asked_wait(response))
        if status in (400, 413, 422):
            if code == "context_length_exceeded" or _TOO_LONG.search(said):
                return Reply(said, "too_long")
            if code == "content_filter":
                return Reply(said, "refused")
        hint = "check judge.model and judge.base_url, which mostly ends in /v1"
        raise UserError(f"{self._place}: the server answers {status}: {said or 'nothing'}; {hint}")

    def _error(self, response: httpx2.Response) -> tuple[str, str]:
        """Return the code and the message of an error, in whichever form the server gives it."""
        answer = _json(response)
        error = answer.get("error", answer)
        if isinstance(error, str):
            return "", self._clean(error)
        if not isinstance(error, dict):
            return "", ""
        said = error.get("message") or error.get("detail") or ""
        return str(error.get("code") or ""), self._clean(str(said))

    def _asked_wait(self, response: httpx2.Response) -> float | None:
        wait = retry_after(response.headers.get("retry-after"), time.time())
        if wait is not None and wait > LONGEST_ASKED:
            raise UserError(
                f"{self._place}: the server asks to wait {wait:.0f} s; what was judged is kept: "
                "run the same command again then"
            )
        return wait

    def _back_off(self, attempt: int, trouble: Trouble) -> None:
        if trouble.wait is not None:
            # The server speaks to all threads, not only to the one that heard it.
            self._pace.hold(trouble.wait)
        self._sleep(self._random.uniform(0, longest_wait(attempt)))

    def _connected(self) -> httpx2.Client:
        import httpx2

        with self._lock:
            if self._client is None:
                headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
                self._client = httpx2.Client(
                    base_url=self.settings.base_url.rstrip("/") + "/",
                    headers=headers,
                    timeout=self.settings.timeout_seconds,
                )
            return self._client

    def _clean(self, text: str) -> str:
        """Return one short printable line of what a server said, without the key."""
        if self._key:
            text = text.replace(self._key, "[key]")
        line = " ".join(text.split())[:200]
        return "".join(character for character in line if character.isprintable())

    @property
    def _place(self) -> str:
        return f"judge.model={self.settings.model} at {self.settings.base_url}"


def _json(response: httpx2.Response) -> dict[str, Any]:
    """Return the object that a response holds; an empty one where it holds anything else."""
    try:
        found = response.json()
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair: JSON can hold one, no file can.

    Servers that stream bytes cut an emoji in two now and then.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _first(items: object) -> dict[str, Any]:
    found = items[0] if isinstance(items, list) and items else None
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
