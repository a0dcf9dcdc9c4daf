"""What prompts are made of besides a text: turns of a conversation, and items of a rubric."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class RubricItem:
    """One criterion by which the answers to one prompt are judged (arXiv 2507.17746)."""

    text: str
    """What a good answer does, or with a negative weight must not do."""
    weight: float = 1.0


def half_pair(text: str) -> str | None:
    """Return the first half of a surrogate pair in a text, as ``U+D83D``; None in any other text.

    JSON can spell one, and bytes that are no UTF-8 become one at a terminal. No tokenizer takes it
    and no file can hold it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"U+{ord(text[error.start]):04X}"
    return None
