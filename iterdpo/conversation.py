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
