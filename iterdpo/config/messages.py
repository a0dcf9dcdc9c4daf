"""What pydantic finds wrong, in one line that a user can act upon."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_UNION_MEMBER: Final = re.compile(r"(tuple|literal|constrained)\b[\[-].*|str")

READ_AS_NUMBER: Final = "is read as a number or a truth value, and a text is due; put it in quotes"


def line_of(item: Any, section: str = "") -> str:
    """Return one of pydantic's errors as key, value, and what is allowed.

    Args:
        item: an entry of ``ValidationError.errors()``.
        section: what stands before every key.
    """
    # pydantic adds the tried member of a union to the location; a user knows only the key.
    parts = [str(part) for part in item["loc"] if not _UNION_MEMBER.fullmatch(str(part))]
    key = ".".join([section, *parts] if section else parts)
    if item["type"] == "missing":
        return f"{key}: is missing"
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{key}: no such setting"
    if item["type"] == "dataclass_type":
        return (
            f"{key}={shown(item['input'])}: is a group of settings; set them one by one, "
            f"{key}.NAME=VALUE, or {key}=null where none are allowed too"
        )
    if item["type"] in ("string_type", "path_type") and isinstance(item["input"], int | float):
        return f"{key}: {READ_AS_NUMBER}"  # without its value, which is not as it was typed
    said = item["msg"][0].lower() + item["msg"][1:]
    return f"{key}={shown(item['input'])}: {said}"


def shown(value: object) -> str:
    """Return a value as it is typed, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
