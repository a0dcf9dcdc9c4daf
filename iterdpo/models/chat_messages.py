"""Conversations, as engines and chat templates take them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation that the model is to continue as the assistant."""

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, user: str, system: str | None = None) -> Request:
        head = (Message("system", system),) if system else ()
        return cls((*head, Message("user", user)))
