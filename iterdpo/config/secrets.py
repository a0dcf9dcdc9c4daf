"""Secrets have no place in a configuration: it is written into run directories, logs and trackers.

A token is found by its look alone, so a setting that nothing reads is searched as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from iterdpo.config.urls import may_hold_secret

# Tokens of the Hugging Face Hub: of a user, of an app (OAuth), and of an organization, once.
_TOKEN: Final = re.compile(r"(?<![A-Za-z0-9_])(?:hf_|hf_oauth_|api_org_)[A-Za-z0-9]{20,}")
# In turn: a login or a key within a URL, and the forms that makers of hosted models and of code
# hosts give their keys.
_KEY: Final = re.compile(
    r"""://[^/\s]*@
    | [?&;][^=&;\s]{0,40}(?i:key|token|secret|passw|pwd|auth|sig|cred)[^=&;\s]{0,20}=[^&;\s]{4,}
    | (?<![A-Za-z0-9_-]) (?:
        sk-[A-Za-z0-9_-]{20,}
        | (?:gsk_|xai-|pplx-|nvapi-|csk-|r8_|gh[a-z]_|github_pat_|glpat-|AIza)
          (?=[A-Za-z_-]{0,40}[0-9]) [A-Za-z0-9_-]{20,}
        | AKIA[A-Z0-9]{16}
        | eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_.-]{10,} )""",
    re.VERBOSE,
)
# What settings of one's own are called that hold a secret; the name of a variable is none.
_SECRET_NAME: Final = re.compile(
    r"(?:^|[._])(?:api_?key|secret_?key|password|passwd|(?:access|auth|api|hf)_?token)$",
    re.IGNORECASE,
)
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*|")
_ADDRESS: Final = re.compile(r"(?:^|[._])(?:url|endpoint)$")
_HIDDEN: Final = "(hidden)"


def secret_problems(values: Mapping[str, Any], *, addresses: bool = True) -> list[str]:
    """Return a line for each setting that holds what looks like a secret, which is in none.

    Args:
        values: of a configuration, composed; interpolations may be resolved or not.
        addresses: whether to look at addresses with a login or a query; those who read them refuse
            them too, and say more.
    """
    return [
        problem
        for key, text in _texts(values, "")
        if addresses or not (_ADDRESS.search(key) and may_hold_secret(text))
        for problem in _problems(key, text, without_secrets(key) or "the configuration")
    ]


def argument_problems(arguments: Iterable[str]) -> list[str]:
    """Return the same for the arguments of a command line: a sweep writes them down before anybody
    looks at what they set.
    """
    problems = []
    for text in arguments:
        key, sign, value = text.partition("=")
        setting = key.lstrip("+") if sign else ""
        problems += _problems(setting, value.strip("'\"") if sign else text, _key_of(text))
        problems += _problems("", key, _key_of(text)) if sign else []
    return problems


def without_secrets(text: str) -> str:
    """Return ``text`` with everything in it hidden that looks like a secret."""
    return _KEY.sub(_HIDDEN, _TOKEN.sub(_HIDDEN, text))


def _key_of(argument: str) -> str:
    key, sign, _ = argument.partition("=")
    return without_secrets(key) if sign and not _KEY.search(key) else "an argument"


def _problems(setting: str, text: str, shown: str) -> list[str]:
    """Return, as a list, what is wrong with a setting's value.

    Args:
        setting: its key.
        text: its value.
        shown: what to call it.
    """
    if _TOKEN.search(text):
        return [
            f"{shown}: holds what looks like a Hugging Face token, and settings are written down; "
            "put it into the environment variable HF_TOKEN, or log in with `hf auth login`"
        ]
    named = _SECRET_NAME.search(setting) and not _VARIABLE.fullmatch(text) and text != "null"
    if _KEY.search(text) or named or (_ADDRESS.search(setting) and may_hold_secret(text)):
        return [
            f"{shown}: holds what looks like a key or a password, and settings are written down; "
            "put it into an environment variable, and that one's name into judge.api_key_env"
        ]
    return []


def _texts(value: Any, key: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield key, str(name)
            yield from _texts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _texts(item, f"{key}.{place}")
    elif isinstance(value, str):
        yield key, value
