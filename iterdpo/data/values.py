"""What a message says of a value that came from outside, and what is asked of a text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from iterdpo.conversation import half_pair
from iterdpo.runtime.terminal import harmless

NAMED = 5  # broken rows that an error names; the others are counted
COLUMNS = 20  # columns that an error lists


class RowError(ValueError):
    """What is wrong with one row. The text says it without the row's place."""


def excerpt(value: object, longest: int = 60) -> str:
    """Return a value as JSON on one line, cut to ``longest`` characters, for a message."""
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return harmless(shown if len(shown) <= longest else f"{shown[: longest - 1]}…")


def kind_of(value: object) -> str:
    """Return what JSON calls the value, with its article."""
    names = {
        str: "a text", bool: "a truth value", int: "a number", float: "a number", list: "a list",
        dict: "an object", type(None): "null",
    }  # fmt: skip
    return names.get(type(value), f"a {type(value).__name__}")


def column_names(names: Sequence[str]) -> str:
    """Return the names that a message lists, each on the message's line."""
    shown = (name if name.isprintable() else excerpt(name) for name in names[:COLUMNS])
    return ", ".join(shown) or "none"


def field_of(fields: Mapping[str, object], name: str) -> object:
    """Return a row's field.

    Raises:
        RowError: there is none of this name.
    """
    if name not in fields:
        raise RowError(f"has no field {excerpt(name)} (it has: {column_names(list(fields))})")
    return fields[name]


def text_of(value: object, name: str) -> str:
    """Return a text, empty or not, that a tokenizer can read.

    Raises:
        RowError: it is something else, or holds half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise RowError(f"{name}={excerpt(value)} is {kind_of(value)}, not a text")
    if half := half_pair(value):
        raise RowError(f"{name} holds half of a surrogate pair ({half})")
    return value


def number_of(value: object, name: str) -> float | None:
    """Return a number, or None where it is missing: null, NaN or an empty cell, by the format.

    Raises:
        RowError: it is something else, or infinite.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        # CSV holds texts only.
        number = math.inf if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise RowError(f"{name}={excerpt(value)} is no finite number")
    return None if math.isnan(number) else number


def report(key: str, problems: Sequence[str], rows: int) -> str:
    """Return one line on all broken rows: how many there are, and the first few.

    Args:
        key: The setting and its value, as in ``prompts.path=FILE``.
        problems: One for each broken row, with its place.
        rows: How many rows there are.
    """
    if len(problems) == 1:
        return f"{key}: {problems[0]}: fix or remove it"
    rest = len(problems) - NAMED
    more = f"; and {rest} more" if rest > 0 else ""
    first = "; ".join(problems[:NAMED])
    return f"{key}: {len(problems)} of {rows} rows are broken: {first}{more}: fix or remove them"
