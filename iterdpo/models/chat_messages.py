"""Conversations, as engines and chat templates take them."""

from __future__ import annotations

from dataclasses import dataclass

from iterdpo.conversation import Message
from iterdpo.records import Prompt


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation that the model is to continue as the assistant."""

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, user: str, system: str | None = None) -> Request:
        head = (Message("system", system),) if system else ()
        return cls((*head, Message("user", user)))

    @classmethod
    def to(cls, prompt: Prompt, system: str | None = None) -> Request:
        """Return the request for an answer to a prompt, a conversation or a text.

        Args:
            prompt: what is to be answered.
            system: the system message of a prompt that brings none.
        """
        if not prompt.messages:
            return cls.of(prompt.text, system)
        own = prompt.messages[0].role == "system" or not system
        return cls(prompt.messages if own else (Message("system", system or ""), *prompt.messages))
