"""What a row says of a prompt: its conversation, and what else is known of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from iterdpo.conversation import Message, RubricItem
from iterdpo.data.converting import require_fields
from iterdpo.data.rows import Row
from iterdpo.data.turns import bare_text, is_transcript, messages_of, transcript_messages
from iterdpo.data.values import RowError, excerpt, field_of, kind_of, number_of, text_of
from iterdpo.records import Prompt

_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant"}
_CRITERIA = ("text", "criterion", "description")
_WEIGHTS = ("weight", "points")


@dataclass(frozen=True, slots=True)
class Beside:
    """The fields of a row that hold what is known of a prompt beside its text."""

    reference: str | None = None
    """A right answer, a text or a number."""
    rubric: str | None = None
    """What the answers to this very prompt are judged by: a text, or a list of texts or of objects
    with a text (``text``, ``criterion`` or ``description``) and a number (``weight`` or ``points``,
    1 where there is none; negative for what an answer must not do)."""
    metadata: tuple[str, ...] = ()
    """Whatever else is to be kept, as JSON."""

    @property
    def columns(self) -> Sequence[str]:
        """Every field that is looked at."""
        return [*filter(None, (self.reference, self.rubric)), *self.metadata]

    def require(self, rows: Sequence[Row], path: str) -> None:
        """Refuse rows of which none has a field that is named.

        Raises:
            UserError: it names the setting, the field and those that there are.
        """
        for name, names, what in (
            ("reference", [self.reference], "a right answer"),
            ("rubric", [self.rubric], "criteria"),
            ("metadata", self.metadata, "what is to be kept"),
        ):
            require_fields(rows, [*filter(None, names)], f"prompts.{name}", path, what)

    def of(self, fields: Mapping[str, object]) -> dict[str, Any]:
        """Return what a row knows of its prompt, as ``Prompt.of`` takes it.

        Raises:
            RowError: a field is missing or holds something else.
        """
        known: dict[str, Any] = {}
        if self.reference:
            known["reference"] = _reference(fields, self.reference)
        if self.rubric:
            known["rubric"] = rubric_items(field_of(fields, self.rubric), self.rubric)
        if self.metadata:
            known["metadata"] = {name: _plain(fields, name) for name in self.metadata}
        return known


NOTHING_BESIDE: Final = Beside()


def prompt_of(messages: Sequence[Message], source: str, **known: Any) -> Prompt:
    """Return the record of a conversation that is to be answered.

    A single question is named by its text, as everywhere; a conversation by its messages, because
    two of them can read alike once they are written as one text.

    Args:
        messages: up to the user's turn that is answered.
        source: where it came from.
        known: what else ``Prompt.of`` takes.
    """
    if [message.role for message in messages] == ["user"]:
        return Prompt.of(messages[0].content, source, **known)
    text = "\n\n".join(f"{_SPEAKERS[item.role]}: {item.content}" for item in messages)
    return Prompt.of(text, source, messages=tuple(messages), **known)


def opening_of(prompt: Prompt) -> str:
    """Return what the user says first: conversations that share it are kept in one set."""
    said = (message.content for message in prompt.messages if message.role == "user")
    return next(said, prompt.text)


def up_to_the_user(value: object, name: str) -> tuple[Message, ...]:
    """Return a conversation up to the last turn of the user: what follows is its answer.

    Args:
        value: a list of turns, a transcript with ``Human:`` and ``Assistant:``, or a single
            question.
        name: the field, for messages.

    Raises:
        RowError: it is none of these, or the user says nothing in it.
    """
    if isinstance(value, str):
        text = bare_text(value, name)
        spoken = is_transcript(text)
        messages = transcript_messages(text, name) if spoken else (Message("user", text),)
    else:
        messages = messages_of(value, name)
    for last in range(len(messages), 0, -1):
        if messages[last - 1].role == "user":
            return messages[:last]
    raise RowError(f"{name} has no turn of the user")


def rubric_items(value: object, name: str) -> tuple[RubricItem, ...]:
    """Return the criteria that a field holds, in their order; none where it is null.

    Raises:
        RowError: it holds something else.
    """
    if value is None:
        return ()
    given = value if isinstance(value, list | tuple) else [value]
    return tuple(_item(item, f"{name}, item {n}") for n, item in enumerate(given, start=1))


def _item(value: object, name: str) -> RubricItem:
    if isinstance(value, str):
        text, weight = bare_text(value, name), 1.0
    elif isinstance(value, Mapping):
        text = text_of(_first(value, _CRITERIA, name), name)
        number = next((value[key] for key in _WEIGHTS if value.get(key) is not None), 1.0)
        weight = number_of(number, f"{name}, weight") or 0.0
    else:
        raise RowError(f"{name} is {kind_of(value)}, not a text or an object with one")
    if not text.strip():
        raise RowError(f"{name} is empty")
    if not weight:
        raise RowError(f"{name} has the weight 0 and would count for nothing: leave it out")
    return RubricItem(text, weight)


def _first(value: Mapping[str, object], keys: Sequence[str], name: str) -> object:
    for key in keys:
        if value.get(key) is not None:
            return value[key]
    raise RowError(f"{name}={excerpt(value)} has none of {', '.join(keys)}")


def _reference(fields: Mapping[str, object], name: str) -> str | None:
    value = field_of(fields, name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None if value is None else text_of(value, name)


def _plain(fields: Mapping[str, object], name: str) -> object:
    """Return a field's value as JSON holds it."""
    value = field_of(fields, name)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        raise RowError(f"{name}={excerpt(value)} is nothing that JSON holds") from None
