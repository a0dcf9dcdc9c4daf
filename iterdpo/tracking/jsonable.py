"""Turns a run's values into what a tracker can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from iterdpo.runtime.terminal import harmless

SECRET_NAMES = ("token", "api_key", "apikey", "secret", "password", "credentials")
HIDDEN = "(hidden)"
LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
"""The user and password of an address."""


def plain(value: object) -> Any:
    """Return the value as dicts with text keys, lists, numbers, texts, truth values and None.

    Mappings and sequences are converted throughout; anything else becomes its ``str``.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return str(value)


def is_secret(name: str) -> bool:
    """Tell whether a name is a secret's: is, or ends in ``_`` and, one of ``SECRET_NAMES``.

    ``hf_token`` is one, ``max_tokens`` is not.
    """
    return f"_{name.lower()}".endswith(tuple(f"_{secret}" for secret in SECRET_NAMES))


def without_logins(text: str) -> str:
    """Return ``text`` with the user and password of every address in it hidden."""
    return LOGIN.sub(HIDDEN, text)


def without_secrets(config: Mapping[str, object]) -> dict[str, Any]:
    """Return a plain copy in which secrets are hidden: by their names, and logins in addresses."""

    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: HIDDEN if item is not None and is_secret(name) else copy(item)
                for name, item in value.items()
            }
        if isinstance(value, str):
            return without_logins(value)
        return [copy(item) for item in value] if isinstance(value, list) else value

    hidden = copy(plain(config))
    assert isinstance(hidden, dict)
    return hidden


def cell(value: object) -> str | int | float | bool | None:
    """Return what a table's cell can hold: numbers as they are, text harmless, the rest as JSON."""
    simple = plain(value)
    if simple is None or isinstance(simple, int | float | bool):
        return simple
    return harmless(simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False))


def clipped(text: str, length: int) -> str:
    """Return ``text``, its end replaced by an ellipsis where it is longer than ``length``."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
