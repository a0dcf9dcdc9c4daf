"""A client of the chat completions that OpenAI's API and its many look-alikes speak.

It asks one question at a time from any number of threads, and is patient with what passes: rate
limits, overload, timeouts, cut connections and answers that are no JSON are tried again, later each
time and at random moments, and never before a server's own ``Retry-After``. What does not pass (a
wrong key, a model that is not there, a request that the server refuses) is a ``UserError`` of one
line. The key goes into one header and nowhere else: no message of this module holds it.

Servers refuse a question (too long, moderated) in the statuses and often in the words in which they
refuse a setting or a key. Where the words do not tell, a short and harmless question with the same
settings does: who answers that refused the question alone.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

from pydantic import Field

from iterdpo.config.types import Count, Positive
from iterdpo.config.urls import may_hold_secret, names_server
from iterdpo.errors import UserError
from iterdpo.judging.chat_answers import Refusal, Reply, Trouble, read
from iterdpo.judging.http_client import BrokenAnswerError, HttpClient, in_one_line
from iterdpo.judging.pacing import Pace, longest_wait, retry_after
from iterdpo.settings import Keyless

LONGEST_ASKED: Final = 600.0
"""Seconds; a server that asks for a longer wait than this is given up on."""
# Capital letters alone, as is the custom: many a key would pass for a name otherwise.
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_HARMLESS: Final = ({"role": "user", "content": "Answer with one word: yes."},)
_Messages = Sequence[Mapping[str, str]]


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
    """For a whole answer, from the request on."""
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
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = HttpClient(settings.base_url, headers, settings.timeout_seconds)
        self._random = random.Random()

    def ask(self, messages: Sequence[Mapping[str, str]], options: Mapping[str, object]) -> Reply:
        """Return the model's answer to ``messages``.

        Args:
            messages: turns with ``role`` and ``content``.
            options: further fields of the request, such as ``temperature``.

        Raises:
            UserError: the endpoint cannot be asked so, or gave no answer at any try.
        """
        trouble = Trouble("")
        for attempt in range(self.settings.retries + 1):
            if attempt:
                self._back_off(attempt, trouble)
            tried = self._try(messages, options)
            if isinstance(tried, Refusal):
                tried = self._of_the_question(tried, options)
            if isinstance(tried, Reply):
                return tried
            trouble = tried
        raise UserError(
            f"{self._place}: no answer in {self.settings.retries + 1} tries, at last: "
            f"{trouble.said}; what was judged is kept: run the same command again"
        )

    def close(self) -> None:
        """Close its connections. A later call opens new ones."""
        self._http.close()

    def _try(self, messages: _Messages, options: Mapping[str, object]) -> Reply | Trouble | Refusal:
        self._pace.wait()
        body = {"model": self.settings.model, "messages": list(messages), **options}
        try:
            found = read(self._http.post("chat/completions", body), tuple(options))
        except BrokenAnswerError as error:
            return Trouble(self._clean(str(error)))
        if isinstance(found, Reply):
            return found
        return replace(found, said=self._clean(found.said))

    def _of_the_question(self, refused: Refusal, options: Mapping[str, object]) -> Reply | Trouble:
        """Return a reply where the server refused the question, and not what comes with each.

        Raises:
            UserError: it was not the question.
        """
        if refused.cause in ("too_long", "refused"):
            return Reply(refused.said, refused.cause)
        if not refused.may_be_the_question:
            raise self._refused(refused)
        answered = self._try(_HARMLESS, options)
        if isinstance(answered, Trouble):
            return answered
        if isinstance(answered, Refusal) or answered.outcome not in ("stop", "length"):
            raise self._refused(refused)
        return replace(
            answered, text=refused.said, outcome="too_long" if refused.about_size else "refused"
        )

    def _refused(self, refused: Refusal) -> UserError:
        settings, status = self.settings, refused.status
        held = f"the key in {settings.api_key_env}" if self._key else "a request without a key"
        if refused.cause == "key":
            # The server's own words are left out: some quote the key.
            return UserError(
                f"{self._place}: the server refuses {held} ({status}); set judge.api_key_env to "
                "the environment variable that holds a valid key"
            )
        if refused.cause == "credit":
            return UserError(
                f"{self._place}: the account has no credit left ({status}): {refused.said}"
            )
        hint = "check judge.model and judge.base_url, which mostly ends in /v1"
        if refused.options:
            hint = f"leave it out: {' '.join(map(_without, refused.options))}"
        elif refused.cause == "forbidden":
            hint = (
                f"it may be {held}, what that may ask for (judge.model), the region, or a proxy on "
                "the way"
            )
        said = refused.said or "nothing"
        return UserError(f"{self._place}: the server answers {status}: {said}; {hint}")

    def _back_off(self, attempt: int, trouble: Trouble) -> None:
        wait = retry_after(trouble.retry_after, time.time())
        if wait is not None and wait > LONGEST_ASKED:
            raise UserError(
                f"{self._place}: the server asks to wait {wait:.0f} s; what was judged is kept: "
                "run the same command again then"
            )
        if wait is not None:
            # The server speaks to all threads, not only to the one that heard it.
            self._pace.hold(wait)
        self._sleep(self._random.uniform(0, longest_wait(attempt)))

    def _clean(self, text: str) -> str:
        return in_one_line(text, self._key)

    @property
    def _place(self) -> str:
        return f"judge.model={self.settings.model} at {self.settings.base_url}"


def _without(option: str) -> str:
    """Return how a setting of a request is left out of it."""
    return {
        "seed": "judge.send_seed=false",
        "max_tokens": "judge.max_tokens=null or judge.limit_name=max_completion_tokens",
        "max_completion_tokens": "judge.max_tokens=null or judge.limit_name=max_tokens",
    }.get(option, f"judge.{option}=null")
