"""Turns a run's values into what a tracker can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

SECRET_NAMES = ("token", "api_key", "apikey", "secret", "password", "credentials")


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


def without_secrets(config: Mapping[str, object]) -> dict[str, Any]:
    """Return a plain copy in which every value under a secret's name is hidden.

    A name is a secret's when it is, or ends in ``_`` and, one of ``SECRET_NAMES``: ``hf_token``
    is hidden, ``max_tokens`` is not.
    """

    def hide(name: str, value: Any) -> Any:
        if value is not None and f"_{name.lower()}".endswith(tuple(f"_{n}" for n in SECRET_NAMES)):
            return "(hidden)"
        return copy(value)

    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: hide(name, item) for name, item in value.items()}
        return [copy(item) for item in value] if isinstance(value, list) else value

    hidden = copy(plain(config))
    assert isinstance(hidden, dict)
    return hidden


def cell(value: object) -> str | int | float | bool | None:
    """Return what a table's cell can hold: scalars as they are, the rest as JSON text."""
    simple = plain(value)
    if simple is None or isinstance(simple, str | int | float | bool):
        return simple
    return json.dumps(simple, ensure_ascii=False)
