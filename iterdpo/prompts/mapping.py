"""How a dataset's row becomes a prompt, told by a few settings: no code of anybody's is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from iterdpo.config.types import Count, checked
from iterdpo.conversation import Message
from iterdpo.data.turns import (
    INPUT,
    bare_text,
    first_user_text,
    input_of,
    messages_of,
    transcript_messages,
)
from iterdpo.data.values import RowError, excerpt, field_of, text_of
from iterdpo.prompts.conversations import up_to_the_user

Scalar = str | int | float | bool | None
Form = Literal["text", "turns", "transcript", "conversation"]


class SkipReason(StrEnum):
    """Why a row is no prompt, though nothing is wrong with it."""

    FILTERED = "filtered"
    """A field has a value that ``where`` does not list."""
    EMPTY = "empty"
    """The prompt is white space or nothing."""
    TOO_LONG = "too_long"
    """The prompt has more characters than ``max_chars``."""


@checked
@dataclass(frozen=True, kw_only=True)
class PromptMapping:
    """Which rows of a dataset count, and where in a row the prompt is."""

    subset: str | None
    """The dataset's configuration, where it has several."""
    split: str
    revision: str | None
    """Branch, tag or commit on the hub; null for the default branch. A commit stays the same."""
    files: tuple[str, ...]
    """Files of the repository to read instead of a split, for repositories with a loading script
    (none is ever run)."""
    form: Form
    """``text``: ``prompts.field`` is the prompt. ``turns``: it holds a list of turns, whose first
    by the user is the prompt. ``transcript``: the same as a text with ``Human:`` and
    ``Assistant:``. ``conversation``: either of these, or a text, and all of it up to the user's
    last turn is the prompt."""
    join: tuple[str, ...]
    """Further fields, set under the prompt after a blank line where they are not empty."""
    where: dict[str, Scalar | tuple[Scalar, ...]]
    """For each of some fields the value, or the list of values, that a row must have."""
    max_chars: Count | None
    """Longer prompts are left out."""

    def conversation(
        self, fields: Mapping[str, object], field: str
    ) -> tuple[Message, ...] | SkipReason:
        """Return what a row asks, up to the user's turn to answer, or why it asks nothing.

        Args:
            fields: the row.
            field: the one that holds the prompt, or the conversation that it opens.

        Raises:
            RowError: a field is missing or holds something else than the mapping says.
        """
        for name, allowed in self.where.items():
            if not _among(field_of(fields, name), allowed):
                return SkipReason.FILTERED
        if INPUT not in self.join:
            require_no_input(fields, field, "name it in prompts.dataset.join")
        *earlier, last = self._turns(field_of(fields, field), field)
        parts = [last.content]
        for name in self.join:
            value = field_of(fields, name)
            parts.append("" if value is None else text_of(value, name))
        asked = "\n\n".join(part for part in parts if part.strip())
        if not asked:
            return SkipReason.EMPTY
        turns = (*earlier, Message(last.role, asked))
        if self.max_chars is not None and sum(len(t.content) for t in turns) > self.max_chars:
            return SkipReason.TOO_LONG
        return turns

    def _turns(self, value: object, field: str) -> tuple[Message, ...]:
        match self.form:
            case "conversation":
                return up_to_the_user(value, field)
            case "turns":
                text = first_user_text(messages_of(value, field), field)
            case "transcript":
                said = bare_text(value, field)
                text = first_user_text(transcript_messages(said, field), field)
            case "text":
                text = bare_text(value, field)
        return (Message("user", text),)


def require_no_input(fields: Mapping[str, object], field: str, remedy: str) -> None:
    """Refuse a row of Alpaca's form whose question alone would be asked.

    Raises:
        RowError: it has an input.
    """
    if (lost := input_of(fields, field)).strip():
        raise RowError(f"{INPUT}={excerpt(lost)} would be lost: {remedy}")


def _among(value: object, allowed: Scalar | Sequence[Scalar]) -> bool:
    values = allowed if isinstance(allowed, list | tuple) else [allowed]
    # 1 and True are equal in Python, but not in a dataset.
    return any(
        value == item and isinstance(value, bool) == isinstance(item, bool) for item in values
    )
