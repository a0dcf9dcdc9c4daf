"""Secrets have no place in a configuration: it is written into run directories, logs and trackers.

A token is found by its look alone, so a setting that nothing reads is searched as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

# Tokens of the Hugging Face Hub: of a user, of an app (OAuth), and of an organization, once.
_TOKEN: Final = re.compile(r"(?<![A-Za-z0-9_])(?:hf_|hf_oauth_|api_org_)[A-Za-z0-9]{20,}")
# A login within a URL, and the form that most makers of hosted models give their keys.
_KEY: Final = re.compile(r"://[^/\s]*@|(?<![A-Za-z0-9_-])sk-[A-Za-z0-9_-]{20,}")
_HIDDEN: Final = "(hidden)"


def token_problems(values: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting that holds what looks like a token. The token is in none."""
    return [_problem(key) for key, text in _texts(values, "") if _TOKEN.search(text)]


def argument_problems(arguments: Iterable[str]) -> list[str]:
    """Return the same for the arguments of a command line, keys of other services included: a sweep
    writes its arguments down before anybody looks at what they set.
    """
    return [
        _problem(_key_of(text)) if _TOKEN.search(text) else _key_problem(_key_of(text))
        for text in arguments
        if _TOKEN.search(text) or _KEY.search(text)
    ]


def without_tokens(text: str) -> str:
    """Return ``text`` with every token in it hidden."""
    return _TOKEN.sub(_HIDDEN, text)


def _key_of(argument: str) -> str:
    key, sign, _ = argument.partition("=")
    return without_tokens(key) if sign and not _KEY.search(key) else "an argument"


def _problem(key: str) -> str:
    return (
        f"{key}: holds what looks like a Hugging Face token, and settings are written down; put "
        "it into the environment variable HF_TOKEN, or log in with `hf auth login`"
    )


def _key_problem(key: str) -> str:
    return (
        f"{key}: holds what looks like a key or a password, and settings are written down; put it "
        "into an environment variable, and that one's name into judge.api_key_env"
    )


def _texts(value: Any, key: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _texts(item, f"{key}.{place}")
    elif isinstance(value, str):
        yield key, value
