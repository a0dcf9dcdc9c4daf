"""The state of a conversation, apart from how it is shown: turns, who answers, at what settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from iterdpo.conversation import Message
from iterdpo.engines.base import Sampling
from iterdpo.errors import UserError
from iterdpo.models.chat_messages import Request
from iterdpo.records import Policy
from iterdpo.tools.chat.talker import Talker


@dataclass(frozen=True)
class Turn:
    """One message, and the model that wrote it."""

    message: Message
    model: str | None = None


@dataclass
class Conversation:
    """Turns in order, the model that answers next, and how it samples."""

    talker: Talker
    policies: dict[str, Policy]
    model: str
    sampling: Sampling
    system: str | None = None
    turns: list[Turn] = field(default_factory=list)
    tries: int = 0
    """How often an answer was asked for: asking again draws other random numbers."""

    def ask(self, text: str) -> Iterator[str]:
        """Yield the answer to a new message. Both are kept, or neither where none comes.

        An answer that is stopped (by closing the iterator, or Ctrl-C) is kept as far as it came.

        Raises:
            ContextFullError: there is no room for an answer.
        """
        self.turns.append(Turn(Message("user", text)))
        yield from self._answer()

    def ask_again(self) -> Iterator[str]:
        """Yield another answer to the last message, in the place of the one before. That one stays
        where no other comes.

        Raises:
            UserError: there is no message.
            ContextFullError: there is no room for an answer.
        """
        before = list(self.turns)
        self.turns[:] = question = self._until_question()
        try:
            yield from self._answer()
        finally:
            if len(self.turns) < len(question):
                self.turns[:] = before

    def ask_all(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Yield each model's name and its answer to the last message. The conversation stays.

        Raises:
            UserError: there is no message.
        """
        request, sampling = self._request(self._until_question()), self._drawing()
        for name, policy in self.policies.items():
            yield name, self.talker.reply(request, policy, sampling)

    def switch(self, name: str) -> None:
        """Let another model answer from now on.

        Raises:
            UserError: there is no such model.
        """
        known = {item.lower(): item for item in self.policies}
        if name.lower() not in known:
            raise UserError(f"{name}: no such model; there are {', '.join(self.policies)}")
        self.model = known[name.lower()]

    def heat(self, text: str) -> None:
        """Set the temperature; 0 is greedy.

        Raises:
            UserError: it is no number of at least 0.
        """
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise UserError(f"/temperature {text}: must be a number of at least 0, 0 for greedy")
        self.sampling = replace(self.sampling, temperature=value)

    def reset(self) -> None:
        """Forget every turn; the system message stays."""
        self.turns.clear()

    def as_json(self, run: str) -> str:
        """Return the conversation as a JSON document."""
        said: list[dict[str, Any]] = [
            {"role": turn.message.role, "content": turn.message.content}
            | ({"model": turn.model} if turn.model else {})
            for turn in self.turns
        ]
        values = {"run": run, "system": self.system, "temperature": self.sampling.temperature}
        return json.dumps(values | {"messages": said}, ensure_ascii=False, indent=1) + "\n"

    def _answer(self) -> Iterator[str]:
        policy, written = self.policies[self.model], ""
        try:
            for piece in self.talker.reply(self._request(self.turns), policy, self._drawing()):
                written += piece
                yield piece
        except BaseException as error:
            stopped = isinstance(error, GeneratorExit | KeyboardInterrupt)
            if stopped and written:
                self._keep(written)
            else:
                self.turns.pop()  # two questions in a row are no conversation
            raise
        self._keep(written)

    def _keep(self, written: str) -> None:
        self.turns.append(Turn(Message("assistant", written), self.model))

    def _drawing(self) -> Sampling:
        self.tries += 1
        return replace(self.sampling, seed=self.sampling.seed + self.tries - 1)

    def _request(self, turns: Sequence[Turn]) -> Request:
        head = (Message("system", self.system),) if self.system else ()
        return Request((*head, *(turn.message for turn in turns)))

    def _until_question(self) -> list[Turn]:
        asked = [n for n, turn in enumerate(self.turns) if turn.message.role == "user"]
        if not asked:
            raise UserError("there is no message yet; write one first")
        return self.turns[: asked[-1] + 1]
