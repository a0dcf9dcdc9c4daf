"""How a dataset's row becomes a prompt, told by a few settings: no code of anybody's is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from iterdpo.data.turns import first_user_text, messages_of, transcript_messages
from iterdpo.data.values import field_of, text_of

Scalar = str | int | float | bool | None
Form = Literal["text", "turns", "transcript"]


class SkipReason(StrEnum):
    """Why a row is no prompt, though nothing is wrong with it."""

    FILTERED = "filtered"
    """A field has a value that ``where`` does not list."""
    EMPTY = "empty"
    """The prompt is white space or nothing."""
    TOO_LONG = "too_long"
    """The prompt has more characters than ``max_chars``."""


@dataclass(frozen=True, kw_only=True)
class PromptMapping:
    """Which rows count, and where in a row the prompt is."""

    field: str
    """The field that holds the prompt, or the conversation that it opens."""
    form: Form = "text"
    """``text``: the field is the prompt. ``turns``: a list of turns, whose first by the user it
    is. ``transcript``: the same in one text with ``Human:`` and ``Assistant:``."""
    join: tuple[str, ...] = ()
    """Further fields of text, set under it after a blank line where they are not empty."""
    where: Mapping[str, Scalar | Sequence[Scalar]] = dataclasses.field(default_factory=dict)
    """For each of some fields the value, or the values, that a row must have."""
    max_chars: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every field that is looked at, that of the prompt first."""
        return tuple(dict.fromkeys((self.field, *self.join, *self.where)))

    def prompt(self, fields: Mapping[str, object]) -> str | SkipReason:
        """Return a row's prompt, or why it has none.

        Raises:
            RowError: a field is missing or holds something else than the mapping says.
        """
        for name, allowed in self.where.items():
            if not _among(field_of(fields, name), allowed):
                return SkipReason.FILTERED
        parts = [self._opening(field_of(fields, self.field))]
        for name in self.join:
            value = field_of(fields, name)
            parts.append("" if value is None else text_of(value, name))
        text = "\n\n".join(part for part in parts if part.strip())
        if not text:
            return SkipReason.EMPTY
        if self.max_chars is not None and len(text) > self.max_chars:
            return SkipReason.TOO_LONG
        return text

    def _opening(self, value: object) -> str:
        if self.form == "turns":
            return first_user_text(messages_of(value, self.field), self.field)
        text = text_of(value, self.field)
        if self.form == "transcript":
            return first_user_text(transcript_messages(text, self.field), self.field)
        return text


def _among(value: object, allowed: Scalar | Sequence[Scalar]) -> bool:
    values = allowed if isinstance(allowed, list | tuple) else [allowed]
    # 1 and True are equal in Python, but not in a dataset.
    return any(
        value == item and isinstance(value, bool) == isinstance(item, bool) for item in values
    )
