"""An OpenAI-compatible server that writes texts from token ids and states their log-probs.

Prompts go out as token ids, so that a chat template or a tokenizer of the server's own changes
nothing, and every setting of the sampling goes with them, as a server may have defaults of its own
(vLLM takes those of ``generation_config.json``).
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from iterdpo.config.urls import may_hold_secret, names_server
from iterdpo.engines.base import TokenSequence
from iterdpo.errors import UserError
from iterdpo.judging.chat_answers import Refusal, Trouble, failure
from iterdpo.judging.http_client import Answer, BrokenAnswerError, HttpClient, in_one_line
from iterdpo.judging.pacing import longest_wait, retry_after

TRIES: Final = 5
_CONCURRENCY: Final = 16
_LONGEST_ASKED: Final = 600.0
_PLAIN: Final[dict[str, object]] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "n": 1,
    "logprobs": 1,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
}
"""The policy itself: nothing cut off, nothing penalized."""
_TOKEN: Final = re.compile(r"token_id:([0-9]{1,9})")
_LEAST: Final = -1000.0
"""Nats. JSON has no infinity, and servers write -9999 for it."""
_ROUNDING: Final = 1e-3


@dataclass(frozen=True, slots=True)
class ServedText:
    """A text that the server wrote, with its own log-prob of each token."""

    sequence: TokenSequence
    logprobs: tuple[float, ...]


class CompletionServer:
    """Asks one server; ``close`` ends its connections."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout: float = 600.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: up to where ``/completions`` is added, mostly ending in ``/v1``.
            key: sent as a bearer token, if any. It is shown nowhere.
            timeout: seconds for a whole answer.
            sleep: waits between tries.

        Raises:
            UserError: the URL names no server, or holds a secret.
        """
        if may_hold_secret(url):
            raise UserError(
                "URL: holds credentials or a query; put the key into an environment variable and "
                "its name into --key-env"
            )
        if not names_server(url):
            raise UserError(f"URL={url}: give one such as http://localhost:8000/v1")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url, self._key, self._sleep = url, key, sleep
        self._http = HttpClient(url, headers, timeout)
        self._random = random.Random()

    def base_of(self, name: str) -> str | None:
        """Return the name of the base under the adapter ``name``, None where the server tells none.

        Raises:
            UserError: the server has no such adapter, or tells nothing of its models.
        """
        body = self._asked(lambda: self._http.get("models"), "models")
        rows = body.get("data")
        cards = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        parents = {str(card.get("id")): card.get("parent") for card in cards}
        if name not in parents:
            served = in_one_line(", ".join(parents) or "none", self._key)
            raise UserError(
                f"--name={name}: {self._url} serves no such model; it serves {served}; give vLLM "
                f"--enable-lora --lora-modules {name}=ADAPTER"
            )
        parent = parents[name]
        return parent if isinstance(parent, str) and parent in parents else None

    def write(
        self, name: str, prompts: Sequence[tuple[int, ...]], max_tokens: int, vocabulary: int | None
    ) -> Iterator[ServedText]:
        """Yield a text to each prompt, sampled from the model ``name`` at temperature 1.

        Args:
            name: a model of the server.
            prompts: token ids, and a seed each by their place.
            max_tokens: longest text.
            vocabulary: tokens that the base has; None where it does not say.

        Raises:
            UserError: the server refuses, says nothing, or leaves out ids or log-probs.
        """
        pool = ThreadPoolExecutor(_CONCURRENCY, "canary")

        def one(seed: int) -> ServedText:
            prompt = prompts[seed]
            asked = {"model": name, "prompt": list(prompt), "max_tokens": max_tokens, "seed": seed}
            body = {**asked, **_PLAIN}
            answer = self._asked(lambda: self._http.post("completions", body), f"model {name}")
            return self._text(answer, name, prompt, vocabulary)

        try:
            yield from pool.map(one, range(len(prompts)))
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _asked(self, send: Callable[[], Answer], what: str) -> dict[str, Any]:
        """Return the JSON object that a server answers, after several tries."""
        said = ""
        for attempt in range(TRIES):
            try:
                answer = send()
            except BrokenAnswerError as error:
                wrong: Trouble | Refusal | None = Trouble(str(error))
            else:
                wrong = failure(answer)
            if wrong is None:
                try:
                    body = json.loads(answer.body)
                except (ValueError, RecursionError):
                    body = None
                if isinstance(body, dict):
                    return body
                wrong = Trouble("an answer that is no JSON object")
            said = in_one_line(wrong.said, self._key)
            if isinstance(wrong, Refusal):
                raise self._refused(wrong, said, what)
            asked = retry_after(wrong.retry_after, time.time()) or 0.0
            if asked > _LONGEST_ASKED:
                raise UserError(f"{self._url}: {what}: the server asks to wait {asked:.0f} s")
            if attempt + 1 < TRIES:
                self._sleep(asked + self._random.uniform(0, longest_wait(attempt + 1)))
        raise UserError(f"{self._url}: {what}: no answer in {TRIES} tries, at last: {said}")

    def _refused(self, refused: Refusal, said: str, what: str) -> UserError:
        if refused.cause == "key":
            # The server's own words are left out: some quote the key.
            return UserError(
                f"{self._url}: the server refuses {'the' if self._key else 'a request without a'} "
                f"key ({refused.status}); name the environment variable that holds it, --key-env"
            )
        hint = "URL mostly ends in /v1"
        if refused.status in (400, 413, 422):
            hint = "where it speaks of a length, lower --max-tokens"
        elif refused.cause == "forbidden":
            hint = "it may be the key (--key-env), what that may ask for, the region, or a proxy"
        return UserError(
            f"{self._url}: {what}: the server answers {refused.status}: {said or 'nothing'}; {hint}"
        )

    def _text(
        self, body: dict[str, Any], name: str, prompt: tuple[int, ...], vocabulary: int | None
    ) -> ServedText:
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        choice = choice if isinstance(choice, dict) else {}
        stated = choice.get("logprobs")
        stated = stated if isinstance(stated, dict) else {}
        values, ids = stated.get("token_logprobs"), _ids(choice.get("token_ids"), stated)
        place = f"{self._url}: model {name}"
        if not isinstance(values, list) or not values:
            raise UserError(
                f"{place}: gives no log-probs of what it writes (logprobs=1 of /v1/completions); "
                "a proxy may leave them out, ask the server itself"
            )
        if ids is None:
            raise UserError(
                f"{place}: gives no token ids (return_token_ids=true of /v1/completions); vLLM "
                "does since 0.10"
            )
        if len(ids) != len(values):
            raise UserError(
                f"{place}: gives {len(values)} log-probs for {len(ids)} tokens; what lies between "
                "leaves some out, ask the server itself"
            )
        if vocabulary is not None and max(ids) >= vocabulary:
            raise UserError(
                f"{place}: writes token {max(ids)}, and BASE has {vocabulary} of them: it serves "
                "another base"
            )
        if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
            raise UserError(f"{place}: gives log-probs that are no numbers")
        if max(values) > _ROUNDING or min(values) < _LEAST:
            extreme = max(values) if max(values) > _ROUNDING else min(values)
            raise UserError(
                f"{place}: gives {extreme:g} as the log-prob of a token that it wrote; start vLLM "
                "with --logprobs-mode raw_logprobs"
            )
        return ServedText(TokenSequence(prompt, ids), tuple(float(value) for value in values))


def _ids(given: object, stated: dict[str, Any]) -> tuple[int, ...] | None:
    """Return a text's token ids: as such, else as they stand for the tokens of its log-probs."""
    if isinstance(given, list) and given and all(type(it) is int and it >= 0 for it in given):
        return tuple(given)
    tokens = stated.get("tokens")
    spelled = [_TOKEN.fullmatch(str(token)) for token in tokens] if isinstance(tokens, list) else []
    found = [int(match[1]) for match in spelled if match]
    return tuple(found) if found and len(found) == len(spelled) else None
