"""Conversations in the forms that datasets keep them in, as one list of messages.

Read are: lists of ``{"role", "content"}`` (TRL, UltraFeedback-binarized) and ``{"from", "value"}``
(ShareGPT); lists of texts in turn, the user first (LIMA); and transcripts with ``Human:`` and
``Assistant:`` after blank lines (HH-RLHF).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from iterdpo.conversation import Message
from iterdpo.data.values import RowError, excerpt, kind_of, text_of

log = logging.getLogger(__name__)

ROLES: Final[Mapping[str, str]] = {
    "system": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip
"""What datasets call the three roles."""

UNREAD: Final = ("tools", "images", "image", "chat_template_kwargs")
"""Fields by which TRL's datasets change a prompt, and which are not read."""

_THOUGHTS: Final = ("reasoning_content", "reasoning", "thinking")
"""Fields of a turn that hold what was thought before it was said, and which are not read."""

INSTRUCTION, INPUT = "instruction", "input"
"""Alpaca's fields: what is asked, and what it is asked of, where there is something."""

_TURNS_AS_TEXT: Final = re.compile(
    r"""\s*\[\s*\{\s*(['"])(?:role|content|from|value)\1\s*:.*\}\s*\]\s*""", re.DOTALL
)
_TEMPLATED: Final = re.compile(
    r"\s*(?:(?:<s>|<bos>)\s*)?(?:<[|｜][^<>|｜\s]+[|｜]>|<start_of_turn>|\[INST\])"
)
"""How chat templates of the well-known families open their first turn."""
_SPEAKER: Final = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def messages_of(value: object, name: str) -> tuple[Message, ...]:
    """Return a list of turns as messages; contents are kept as they stand.

    Args:
        value: What a row's field holds.
        name: The field, for messages.

    Raises:
        RowError: it is no list, or a turn has no role that is known or no text.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowError(f"{name}={excerpt(value)} is {kind_of(value)}, not a list of turns")
    if not value:
        raise RowError(f"{name} is an empty list of turns")
    if all(isinstance(turn, str) for turn in value):
        roles = ("user", "assistant")
        return tuple(
            Message(roles[number % 2], text_of(turn, f"{name}, turn {number + 1}"))
            for number, turn in enumerate(value)
        )
    return tuple(_message(turn, f"{name}, turn {n}") for n, turn in enumerate(value, start=1))


def require_text_alone(fields: Mapping[str, object]) -> None:
    """Raise ``RowError`` where a row's prompt is more than its texts: what was learned behind the
    texts alone would be another prompt's answer.
    """
    for name in UNREAD:
        if fields.get(name) not in (None, "", "[]", "{}", [], {}):
            raise RowError(
                f"{name}={excerpt(fields[name])} would change the prompt, and only texts are read"
            )


def bare_text(value: object, name: str) -> str:
    """Return the text of a field that may hold a list of turns as well.

    Raises:
        RowError: it is no text, or spells out a list of turns, as a table of texts (CSV) keeps one.
    """
    text = text_of(value, name)
    if _TURNS_AS_TEXT.fullmatch(text):
        raise RowError(
            f"{name}={excerpt(text)} is a list of turns that was written down as a text (write "
            "JSONL or Parquet, which hold lists)"
        )
    return text


def input_of(fields: Mapping[str, object], question: str) -> str:
    """Return what a row's question is asked of in Alpaca's form; empty where there is nothing.

    Args:
        fields: the row.
        question: the field of the question.

    Raises:
        RowError: it is no text.
    """
    value = fields.get(INPUT) if question == INSTRUCTION else None
    return "" if value is None else text_of(value, INPUT)


def warn_of_templates(openings: Collection[str], said: str) -> None:
    """Say how many conversations are in a chat template already: they would be put into it again.

    Args:
        openings: the first text of each.
        said: the setting and its value, or what else holds them, for the message.
    """
    found = [text for text in openings if _TEMPLATED.match(text)]
    if found:
        log.warning(
            "%s: %d of %d prompts are written in a chat template, such as %s; the model's own is "
            "put around them and their tokens are read as plain text: give the bare texts, or "
            "lists of messages",
            said, len(found), len(openings), excerpt(found[0]),
        )  # fmt: skip


def _message(turn: object, name: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(f"{name} is {kind_of(turn)}, not an object with role and content")
    if turn.get("tool_calls"):
        raise RowError(f"{name} calls tools, and only texts are read")
    for thought in _THOUGHTS:
        if turn.get(thought):
            raise RowError(f"{name} holds {thought}, which is not read: write it into the content")
    said = turn.get("role", turn.get("from"))
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise RowError(f"{name}: role={excerpt(said)} is none of {', '.join(ROLES)}")
    return Message(role, text_of(_joined(turn.get("content", turn.get("value")), name), name))


def _joined(content: object, name: str) -> object:
    """Return a list of parts, as OpenAI's API and multimodal templates write texts, as one text."""
    if not isinstance(content, list):
        return content
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if kind != "text":
            raise RowError(f"{name} holds {excerpt(part)}, and only parts with a text are read")
    return "".join(text_of(part.get("text"), name) for part in content)


def is_transcript(text: str) -> bool:
    """Tell whether a text opens with a speaker, as the transcripts of HH-RLHF do."""
    return _SPEAKER.match(text) is not None


def transcript_messages(text: str, name: str) -> tuple[Message, ...]:
    """Return the turns of a transcript, white space around them dropped.

    Turns of one speaker that follow each other are joined by a blank line: chat templates want the
    speakers to alternate.

    Raises:
        RowError: the text does not open with a speaker.
    """
    if not is_transcript(text):
        raise RowError(f'{name}={excerpt(text)} does not begin with "Human:" or "Assistant:"')
    parts = _SPEAKER.split(text)[1:]
    turns: list[Message] = []
    for speaker, said in zip(parts[::2], parts[1::2], strict=True):
        role = ROLES[speaker.lower()]
        if turns and turns[-1].role == role:
            joined = f"{turns[-1].content}\n\n{said.strip()}".strip()
            turns[-1] = Message(role, joined)
        else:
            turns.append(Message(role, said.strip()))
    return tuple(turns)


def first_user_text(messages: Sequence[Message], name: str) -> str:
    """Return what the user says first.

    Raises:
        RowError: the user says nothing.
    """
    for message in messages:
        if message.role == "user":
            return message.content
    raise RowError(f"{name} has no turn of the user")
