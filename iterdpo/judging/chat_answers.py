"""What a server's answer to a chat completion means: a reply, a passing trouble, or a refusal.

Pure, and total: whatever bytes a server sends have one of the three meanings. Servers agree on the
form of a completion and on little else, so refusals are told apart by what they have in common, and
not by any server's wording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from iterdpo.judging.http_client import Answer

Outcome = Literal["stop", "length", "refused", "too_long"]

_NEVER_PASS: Final = frozenset({501, 505})
_PASSING: Final = frozenset({408, 409, 424, 425, 429})
_MOST_TOKENS: Final = 10**9
"""A server that counts more than this miscounts."""
_SIZE: Final = r"\b(?:tokens?|context|length|size|prompts?|inputs?|sequence)\b"
_LIMIT: Final = (
    r"(?:exceed|too (?:long|large|big|many)|(?:long|larg|great|bigg)er than|(?:less|fewer) than|"
    r"at most|max(?:imum)?\b|limit|reduce|shorten|overflow|not fit|[<>]=? ?[0-9])"
)
# A size and a limit near to each other, in either order.
_TOO_LONG: Final = re.compile(rf"{_SIZE}.{{0,120}}?{_LIMIT}|{_LIMIT}.{{0,120}}?{_SIZE}")
_CONTEXT_FULL: Final = re.compile(r"context (?:size|length|window|limit)")
_OF_SIZE: Final = re.compile(r"\b(?:tokens?|context|lengths?|size)\b|too (?:long|large|big|many)")
_RATE: Final = re.compile(r"rate limit|per (?:second|minute|min|hour|day)\b|quota")
_MODERATED: Final = re.compile(
    r"content (?:exists|filter|policy|management|safety|moderation|violat)|moderat|"
    r"(?:input|prompt|content|request|message|text|query)\b.{0,60}"
    r"(?:flagged|filtered|inappropriate|unsafe|sensitive|high risk|harmful|prohibited)|"
    r"(?:flagged|inappropriate|unsafe|sensitive|harmful|prohibited)\b.{0,60}"
    r"(?:input|prompt|content|request|message|text|query)|data inspection failed"
)
_MARKUP: Final = re.compile(r"(?is)<(script|style)\b.*?(?:</\1>|$)|<[^>]*>?")
_ENDINGS: Final = (
    ("failed", re.compile(r"error|abort|cancel|fail|insufficient|interrupt|time.?out|overload")),
    ("refused", re.compile(r"filter|sensitive|safety|moderat|block|prohibit|refus|recitation")),
    ("length", re.compile(r"length|max|limit|context")),
)
"""What names of finish reasons have in common; anything else is a plain end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered, and what it cost in tokens."""

    text: str
    outcome: Outcome
    """``length``: cut off at the token limit. ``refused``: the model or a filter declined, and
    ``text`` says how. ``too_long``: the question does not fit the model's context."""
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a try failed, where another may not."""

    said: str
    retry_after: str | None = None
    """The header, as it came."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server would not take the request, and another try would be as this one."""

    status: int
    said: str
    cause: Literal["key", "credit", "too_long", "refused", "forbidden", "request"]
    """``forbidden``: for one of many reasons, the key among them. ``request``: its question or its
    settings, the words do not tell which."""
    about_size: bool = False
    """Whether the server speaks of a size."""
    options: Sequence[str] = ()
    """The settings of the request that it speaks of."""

    @property
    def may_be_the_question(self) -> bool:
        """Whether the server may take the same request with another question."""
        return self.status in (400, 403, 413, 422)


def read(answer: Answer, options: Sequence[str] = ()) -> Reply | Trouble | Refusal:
    """Return what an answer means.

    Args:
        answer: what the server sent.
        options: the settings in the request. What is said of one of them by its name is not
            taken for a word on the question.
    """
    found, error = _parsed(answer)
    return _failure(answer, error, options) or _completion(found, error)


def failure(answer: Answer) -> Trouble | Refusal | None:
    """Return what went wrong, of any kind of request; None where nothing did."""
    _, error = _parsed(answer)
    return _failure(answer, error, ())


def _parsed(answer: Answer) -> tuple[object, _Error]:
    found = _json(answer.body)
    return found, _Error.of(found if found is not None else _plain_text(answer.body))


def _failure(answer: Answer, error: _Error, options: Sequence[str]) -> Trouble | Refusal | None:
    told = _refused(answer, error, options)
    if told is None and answer.status != 200:
        told = Refusal(answer.status, error.said, "request")
    if isinstance(told, Refusal) and not told.said:
        return replace(told, said=_visible(answer.body))
    return told


def _refused(answer: Answer, error: _Error, options: Sequence[str]) -> Trouble | Refusal | None:
    """Return what an error means; None for one that nothing is known of, and where there is none.

    Some servers send an error as 200.
    """
    status, said, words = answer.status, error.said, error.words
    if status == 401:
        return Refusal(status, said, "key")
    if error.code == "insufficient_quota" or status == 402:
        return Refusal(status, said, "credit")
    if status in (200, 400, 413, 422, 500) and not error.names(options):
        if _is_too_long(status, words):
            return Refusal(status, said, "too_long")
        if status in (400, 422) and _MODERATED.search(words):
            return Refusal(status, said, "refused")
    if status in _PASSING or (status >= 500 and status not in _NEVER_PASS):
        return Trouble(f"{status} {said}".strip(), answer.retry_after)
    if status in (400, 403, 413, 422):
        cause: Literal["forbidden", "request"] = "forbidden" if status == 403 else "request"
        about_size = bool(_OF_SIZE.search(words)) and not _MODERATED.search(words)
        return Refusal(status, said, cause, status == 413 or about_size, error.names(options))
    return None


def _is_too_long(status: int, words: str) -> bool:
    if _RATE.search(words) or not _TOO_LONG.search(words):
        return False
    # A server's own trouble has sizes and limits too.
    return status in (400, 413, 422) or bool(_CONTEXT_FULL.search(words))


def _completion(found: object, error: _Error) -> Reply | Trouble:
    answer = found if isinstance(found, dict) else {}
    choice = _first(answer.get("choices"))
    message = choice.get("message")
    if isinstance(answer.get("error"), dict | str) and error.said:
        return Trouble(f"an answer that is no chat completion: {error.said}")
    if not isinstance(message, dict):
        said = f": {error.said}" if error.said else ""
        return Trouble(f"an answer that is no chat completion{said}")
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    ending = _ending(choice.get("finish_reason"))
    if ending == "failed":
        said = _Error.of(choice.get("error")).said
        return Trouble(f"finish_reason={choice['finish_reason']}{f': {said}' if said else ''}")
    try:
        text, refusal = _content(message.get("content"))
    except TypeError:
        return Trouble("an answer whose content is no text")
    refusal = message["refusal"] if isinstance(message.get("refusal"), str) else refusal
    if ending == "refused" or refusal.strip():
        return Reply(_whole(refusal or text), "refused", *tokens)
    return Reply(_whole(text), "length" if ending == "length" else "stop", *tokens)


def _ending(reason: object) -> str:
    name = reason.lower() if isinstance(reason, str) else ""
    return next((ending for ending, names in _ENDINGS if names.search(name)), "stop")


def _content(content: Any) -> tuple[str, str]:
    """Return the text of a message's content and the refusal in it, either may be empty.

    Parts of other kinds, such as thoughts, are left out.

    Raises:
        TypeError: it is neither text nor a list of parts.
    """
    if content is None or isinstance(content, str):
        return content or "", ""
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, dict) for part in parts):
        raise TypeError
    texts = [part.get("text") for part in parts if part.get("type", "text") == "text"]
    refusals = [part.get("refusal") for part in parts if part.get("type") == "refusal"]
    return "".join(texts), "".join(refusals)


@dataclass(frozen=True, slots=True)
class _Error:
    """An error in whichever form a server gives it."""

    code: str = ""
    said: str = ""
    words: str = ""
    """All that it says, its code and kind included, in small letters with spaces."""

    @classmethod
    def of(cls, found: Any) -> _Error:
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, dict):
            whole = "choices" in found and not found.get("error")
            found = None if whole else found.get("error") or found
        if isinstance(found, str):
            return cls("", found, _words(found))
        if not isinstance(found, dict):
            return cls()
        said = next(filter(None, (_said(found.get(key)) for key in ("message", "detail"))), "")
        code, *kinds = (_said(found.get(key)) for key in ("code", "type", "error_type", "param"))
        return cls(code, said, _words(" ".join([code, *kinds, said])))

    def names(self, options: Sequence[str]) -> list[str]:
        """Return those settings of a request that the error speaks of."""
        return [name for name in options if re.search(rf"\b{_words(name)}\b", self.words)]


def _said(value: object) -> str:
    try:
        return "" if value is None else str(value)
    except (RecursionError, ValueError):
        return ""


def _words(text: str) -> str:
    return " ".join(re.sub(r"[_\-]", " ", text[:2000]).lower().split())


def _plain_text(body: bytes) -> str:
    """Return a body that is plainly a message in words, as proxies send; else nothing."""
    text = body[:2000].decode("utf-8", "replace").strip()
    return "" if text.startswith(("<", "{", "[")) else text


def _visible(body: bytes) -> str:
    """Return what a person would see of a body in no known form, such as a proxy's page."""
    text = re.sub(
        r"(?is)<(script|style)\b.*?(</\1>|$)|<[^>]*>?",
        " ",
        body[:20_000].decode("utf-8", "replace"),
    )
    return " ".join(text.split())


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _whole(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair: JSON can hold one, no file can.

    Servers that stream bytes cut an emoji in two now and then.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _first(items: object) -> dict[str, Any]:
    found = items[0] if isinstance(items, list) and items else None
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0
